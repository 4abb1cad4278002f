/**
 * One stream from the service to this page: an EventSource, its credential, and what happens when it breaks.
 *
 * With the cookie the browser reconnects by itself (HTML standard, section 9.2.3). It gives up when it gets
 * an HTTP error, and it would use a ticket again that is over: in both cases a new attempt is made here.
 *
 * Where tabs share a stream, each asks the service who its own credential is for before it joins a group, and
 * an attempt waits until this tab leads that group. So a follower is an attempt that waits.
 */

import { answer } from "./requests.js";

/** @import {ConnectionState, Problem, View} from "./types.d.ts" */
/** @import {Tabs} from "./tabs.js" */
/** @import {Stream} from "./watch.js" */
/** @typedef {ReturnType<typeof connect>} Connection */

const EVENTS = ["snapshot", "compact", "job", "removed", "totals", "feed", "expiring", "expired", "bye"];
const BACKOFF_FIRST_MS = 1_000;
const BACKOFF_MAX_MS = 30_000;
const RENEWAL_MS = 3_000;
/** A change of leader that takes no longer than this is nobody's concern. */
const HANDOVER_MS = 1_000;

/**
 * A connection that is not open yet. The stream hears each event, and a `connection` event for each change
 * here.
 * @param {Stream} stream
 * @param {Tabs | undefined} tabs Those to share the stream with.
 */
export function connect(stream, tabs) {
  /** Aborted when the present attempt, and all that hangs on it, is over. */
  let attempt = new AbortController();
  /** Aborted at the end. @type {AbortController | null} */
  let opened = null;
  /** @type {Omit<ConnectionState, "role">} */
  let now = { state: "idle", since: 0, problem: null };
  let failures = 0;
  /** The least time to wait that the service asked for. */
  let retryMs = 0;
  let isStalled = false;

  function anew() {
    attempt.abort();
    attempt = new AbortController();
    return attempt.signal;
  }

  /** Make a new attempt now, whatever the present one is at. */
  function reopen() {
    if (opened) join(anew());
  }

  /** Wait no longer for a better moment. */
  function nudge() {
    if (now.state === "reconnecting" || now.state === "refused") reopen();
  }

  /** Let go of the stream. @param {ConnectionState["state"]} state */
  function putAside(state) {
    attempt.abort();
    tabs?.leave();
    tell(state);
  }

  /** @param {AbortSignal} signal @returns {Promise<void>} */
  async function join(signal) {
    const { base, getToken } = stream;
    let ticket = "";
    if (getToken || tabs) {
      const [pass, problem] = await answer(`${base}v1/tickets`, getToken, { method: "POST" });
      if (signal.aborted) return;
      if (!pass) {
        retryLater(signal, problem);
        // Who may not look may not hear it from another tab either.
        if (problem) tabs?.leave();
        return;
      }
      if (getToken) ticket = pass.ticket;
      // The name of the lock and the channel. Nobody is in a group but who the service says is the same user. Those with a token and those with the
      // cookie stay apart, since a cookie may become another user's at any time.
      const group = `progress ${stream.key} ${pass.user_id} ${Boolean(getToken)}`;
      if (tabs && !tabs.leads(group)) {
        now = { ...now, state: "connecting" };
        const asked = Date.now();
        await tabs.follow(group);
        if (signal.aborted) return;
        if (Date.now() - asked > HANDOVER_MS) {
          after(HANDOVER_MS, signal, () => now.state === "live" || tell("reconnecting"));
          // By now the ticket may be too old, or the cookie somebody else's.
          return join(signal);
        }
      }
    }
    listen(signal, ticket);
  }

  /** @param {AbortSignal} signal @param {string} ticket */
  function listen(signal, ticket) {
    const url = `${stream.base}v1/stream?view=${stream.view}${ticket && `&ticket=${encodeURIComponent(ticket)}`}`;
    const source = new EventSource(url, { withCredentials: !ticket });
    stream.asking();
    isStalled = false;
    signal.onabort = () => source.close();
    for (const name of EVENTS) {
      source.addEventListener(name, (event) => receive(signal, event));
    }
    source.onerror = async () => {
      if (source.readyState === source.CLOSED) {
        // An EventSource does not tell why it was refused, so the same address is asked once more.
        const [, problem] = await answer(url, null, { signal });
        if (!signal.aborted) retryLater(signal, problem);
      } else if (ticket) {
        source.close();
        retryLater(signal);
      } else {
        tell("reconnecting", now.problem);
      }
    };
  }

  /** @param {AbortSignal} signal @param {MessageEvent<string>} event */
  function receive(signal, { type, data: text, lastEventId }) {
    if (isStalled) return;
    let data;
    try {
      data = JSON.parse(text);
    } catch {
      return console.warn(`progress: the event “${type}” is not JSON and was left out`);
    }
    if (type === "bye") retryMs = data.retry_ms;
    // Clocks of browsers may be hours off, so times run by that of the service.
    if (data.now) data.skewMs = Date.parse(data.now) - Date.now();
    // A token that is about to end is replaced before it does, so that nothing is missed; not at once, lest
    // all pages come at the same time, or one page again and again with the same token. A cookie is the
    // page's to renew.
    if (type === "expiring" && stream.getToken) after(RENEWAL_MS * (0.5 + Math.random()), signal, reopen);
    stream.hear(type, data, lastEventId);
    if (type === "snapshot" || type === "compact") {
      failures = retryMs = 0;
      tell("live");
    }
  }

  /** @param {AbortSignal} signal @param {Problem} [problem] */
  function retryLater(signal, problem) {
    tell(problem ? "refused" : "reconnecting", problem);
    const most = Math.min(BACKOFF_FIRST_MS * 2 ** failures++, BACKOFF_MAX_MS);
    after(Math.max(retryMs, problem?.retryMs ?? 0, most * (0.5 + Math.random() / 2)), signal, reopen);
    retryMs = 0;
  }

  /** @param {number} ms @param {AbortSignal} signal @param {() => void} act */
  function after(ms, signal, act) {
    setTimeout(() => signal.aborted || act(), ms);
  }

  /** @param {ConnectionState["state"]} state @param {Problem | null} [problem] */
  function tell(state, problem = null) {
    if (problem && problem.detail !== now.problem?.detail) {
      console.warn(`progress: ${stream.base} refused: ${problem.status} ${problem.title}. ${problem.detail}`);
    }
    now = { state, since: state === now.state ? now.since : Date.now(), problem };
    stream.hear("connection", now);
  }

  /**
   * The page knows better than a timer when it is worth trying. A page that is put aside (back-forward cache)
   * lets go of its stream, for the browser would end it, and takes it up again when it comes back.
   * @type {Record<string, (event: any) => void>}
   */
  const PAGE = {
    online: nudge,
    offline: () => tabs?.isFollower() || tell("reconnecting"),
    visibilitychange() {
      tabs?.look();
      if (!document.hidden) nudge();
    },
    pagehide: () => putAside("reconnecting"),
    pageshow: ({ persisted }) => persisted && reopen(),
  };

  return {
    reopen,
    nudge,
    /** Open the stream, or open it anew for another view. @param {View} view */
    open(view) {
      if (opened && view === stream.view) return;
      stream.view = view;
      if (!opened) {
        opened = new AbortController();
        for (const type in PAGE) addEventListener(type, PAGE[type], { signal: opened.signal });
        tell("connecting");
      }
      reopen();
    },
    close() {
      opened?.abort();
      opened = null;
      putAside("idle");
    },
    // For a debug panel: as if the network broke; the stream stays open, and nothing comes any more; and the
    // service refuses the stream as it does when a token has ended.
    drop: () => retryLater(anew()),
    stall: () => void (isStalled = true),
    endToken: () => listen(anew(), "ended"),
  };
}
