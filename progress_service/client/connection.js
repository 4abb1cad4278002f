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

/** @import {ConnectionState, GetToken, Problem, View} from "./types.d.ts" */
/** @import {Tabs} from "./tabs.js" */

const EVENTS = ["snapshot", "compact", "job", "removed", "totals", "feed", "expiring", "expired", "bye"];
const BACKOFF_FIRST_MS = 1_000;
const BACKOFF_MAX_MS = 30_000;
const RENEWAL_MS = 3_000;
/** A change of leader that takes no longer than this is nobody's concern. */
const HANDOVER_MS = 1_000;

export class Connection {
  /** Asked for a bearer token at every attempt. Without it the cookie counts. @type {GetToken | null} */
  getToken = null;
  /** Those to share the stream with. @type {Tabs | null} */
  tabs = null;
  /** How much the stream is to tell. @type {View} */
  view = "compact";
  lastEventId = "";
  /** From the opening of the stream to its first event. @type {number | null} */
  latencyMs = null;

  #base;
  #name;
  #apply;
  /** Aborted when the present attempt, and all that hangs on it, is over. @type {AbortController | null} */
  #attempt = null;
  /** Aborted at the end. @type {AbortController | null} */
  #opened = null;
  /** @type {Omit<ConnectionState, "role">} */
  #state = { state: "idle", since: 0, problem: null };
  #failures = 0;
  /** The least time to wait that the service asked for. */
  #retryMs = 0;
  #isStalled = false;

  /**
   * @param {string} base Address of the service, ending in a slash.
   * @param {string} name What the page calls the user.
   * @param {(event: string, data: any) => void} apply Takes each event, and a `connection` event for each
   * change here.
   */
  constructor(base, name, apply) {
    this.#base = base;
    this.#name = name;
    this.#apply = apply;
  }

  get isLive() {
    return this.#state.state === "live";
  }

  /** Whether another tab's stream is heard. */
  get isFollower() {
    return this.tabs?.isFollower ?? false;
  }

  /** Open the stream, or open it anew for another view. @param {View} view */
  open(view) {
    if (this.#opened && view === this.view) return;
    this.view = view;
    if (!this.#opened) {
      this.#opened = new AbortController();
      this.#watchPage(this.#opened.signal);
      this.#tell("connecting");
    }
    this.reopen();
  }

  /** Wait no longer for a better moment. */
  nudge() {
    const { state } = this.#state;
    if (state === "reconnecting" || state === "refused") this.reopen();
  }

  /** Make a new attempt now, whatever the present one is at. */
  reopen() {
    if (this.#opened) this.#try(this.#anew());
  }

  close() {
    this.#opened?.abort();
    this.#attempt?.abort();
    this.#opened = this.#attempt = null;
    this.tabs?.leave();
    this.#tell("idle");
  }

  /** For a debug panel: as if the network broke. */
  drop() {
    this.#retryLater(this.#anew(), null);
  }

  /** For a debug panel: the stream stays open, and nothing comes any more. */
  stall() {
    this.#isStalled = true;
  }

  /** For a debug panel: have the service refuse the stream as it does when a token has ended. */
  endToken() {
    this.#stream(this.#anew(), "ended");
  }

  #anew() {
    this.#attempt?.abort();
    this.#attempt = new AbortController();
    return this.#attempt.signal;
  }

  /** @param {AbortSignal} signal @returns {Promise<void>} */
  async #try(signal) {
    const { tabs } = this;
    let ticket = null;
    if (this.getToken || tabs) {
      const url = new URL("v1/tickets", this.#base);
      const [pass, problem] = await answer(url, this.getToken, { method: "POST" });
      if (signal.aborted) return;
      if (!pass) return this.#turnedAway(signal, problem);
      if (this.getToken) ticket = pass.ticket;
      const group = this.#groupOf(pass.user_id);
      if (tabs && !tabs.leads(group)) {
        this.#state = { ...this.#state, state: "connecting" };
        const asked = performance.now();
        await tabs.follow(group);
        if (signal.aborted) return;
        if (performance.now() - asked > HANDOVER_MS) {
          this.#after(HANDOVER_MS, signal, () => this.isLive || this.#tell("reconnecting"));
          // By now the ticket may be too old, or the cookie somebody else's.
          return this.#try(signal);
        }
      }
    }
    this.#stream(signal, ticket);
  }

  /**
   * The name of the lock and the channel: nobody is in a group but who the service says is the same user.
   * Those with a token and those with the cookie stay apart, since a cookie may become another user's at any
   * time.
   * @param {string} user
   */
  #groupOf(user) {
    const credential = this.getToken ? "token" : "cookie";
    return `progress ${JSON.stringify([this.#base, this.#name, user, credential])}`;
  }

  /** @param {AbortSignal} signal @param {string | null} ticket */
  #stream(signal, ticket) {
    this.#isStalled = false;
    const query = ticket ? `&ticket=${encodeURIComponent(ticket)}` : "";
    const url = new URL(`v1/stream?view=${this.view}${query}`, this.#base);
    const opened = performance.now();
    this.latencyMs = null;
    const source = new EventSource(url, { withCredentials: !ticket });
    signal.addEventListener("abort", () => source.close());
    for (const name of EVENTS) {
      source.addEventListener(name, ({ data, lastEventId }) => {
        if (this.#isStalled) return;
        this.latencyMs ??= performance.now() - opened;
        this.lastEventId = lastEventId;
        this.#receive(name, data);
      });
    }
    source.addEventListener("error", async () => {
      if (source.readyState === EventSource.CLOSED) {
        // An EventSource does not tell why it was refused, so the same address is asked once more.
        const [, problem] = await answer(url, null, { signal });
        if (!signal.aborted) this.#retryLater(signal, problem);
      } else if (ticket) {
        source.close();
        this.#retryLater(signal, null);
      } else {
        this.#tell("reconnecting", this.#state.problem);
      }
    });
  }

  /** @param {string} event @param {string} text */
  #receive(event, text) {
    let data;
    try {
      data = JSON.parse(text);
    } catch {
      return console.warn(`progress: the event “${event}” is not JSON and was left out`);
    }
    if (event === "bye") this.#retryMs = data.retry_ms;
    if (event === "expiring" && this.getToken) this.#renew();
    this.#apply(event, data);
    if (event === "snapshot" || event === "compact") {
      this.#failures = this.#retryMs = 0;
      this.#tell("live");
    }
  }

  /**
   * A token that is about to end is replaced before it does, so that nothing is missed; not at once, lest all
   * pages come at the same time, or one page again and again with the same token. A cookie is the page's to
   * renew.
   */
  #renew() {
    const { signal } = this.#attempt ?? {};
    if (signal) this.#after(RENEWAL_MS * (0.5 + Math.random()), signal, () => this.reopen());
  }

  /**
   * Who may not look may not hear it from another tab either.
   * @param {AbortSignal} signal
   * @param {Problem | null} problem
   */
  #turnedAway(signal, problem) {
    this.#retryLater(signal, problem);
    if (problem) this.tabs?.leave();
  }

  /** @param {AbortSignal} signal @param {Problem | null} problem */
  #retryLater(signal, problem) {
    this.#tell(problem ? "refused" : "reconnecting", problem);
    const most = Math.min(BACKOFF_FIRST_MS * 2 ** this.#failures++, BACKOFF_MAX_MS);
    const wait = Math.max(this.#retryMs, problem?.retryMs ?? 0, most * (0.5 + Math.random() / 2));
    this.#retryMs = 0;
    this.#after(wait, signal, () => this.reopen());
  }

  /** @param {number} ms @param {AbortSignal} signal @param {() => void} act */
  #after(ms, signal, act) {
    const timer = setTimeout(act, ms);
    signal.addEventListener("abort", () => clearTimeout(timer));
  }

  /** @param {ConnectionState["state"]} state @param {Problem | null} problem */
  #tell(state, problem = null) {
    const before = this.#state;
    if (problem && problem.detail !== before.problem?.detail) {
      console.warn(`progress: ${this.#base} refused: ${problem.status} ${problem.title}. ${problem.detail}`);
    }
    this.#state = { state, since: state === before.state ? before.since : Date.now(), problem };
    this.#apply("connection", this.#state);
  }

  /**
   * The page knows better than a timer when it is worth trying. A page that is put aside (back-forward cache)
   * lets go of its stream, for the browser would end it, and takes it up again when it comes back.
   * @param {AbortSignal} signal
   */
  #watchPage(signal) {
    const retry = () => (this.tabs?.look(), document.hidden || this.nudge());
    addEventListener("online", () => this.nudge(), { signal });
    addEventListener("offline", () => this.isFollower || this.#tell("reconnecting"), { signal });
    document.addEventListener("visibilitychange", retry, { signal });
    const putAside = () => {
      this.#attempt?.abort();
      this.tabs?.leave();
      this.#tell("reconnecting");
    };
    addEventListener("pagehide", putAside, { signal });
    addEventListener("pageshow", (event) => event.persisted && this.reopen(), { signal });
  }
}
