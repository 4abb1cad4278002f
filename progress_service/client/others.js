/**
 * What the tabs of a group say to each other. Who arrives asks for the leader's present state; there is no replay.
 *
 * A leader that is frozen keeps its lock. So a follower that somebody looks at wants an answer once a
 * heartbeat, and takes the lock away from a leader that has missed two.
 *
 * Every small form loads this same file, so it imports nothing.
 */

/** @import {Act, View} from "./types.d.ts" */
/** @import {Group} from "./tabs.js" */
/** @import {Stream} from "./watch.js" */
/** @typedef {ReturnType<typeof others>} Others */

/**
 * What a leader says. `view` is how much it knows; `to` is the one it is meant for, if not all. A larger
 * `term` is a newer leader, so that one which thaws after it was followed is not believed.
 * @typedef {{term: number, view: View | null, id: string, event: string, data?: any, to?: string}} Said
 *
 * What a follower asks for: an answer, the present state, or something that a debug panel does.
 * @typedef {{from: string, view: View, isNew?: boolean, act?: Act}} Asked
 */

/**
 * The other tabs of *mine*, as this one deals with them.
 * @param {Stream} stream
 * @param {Group} mine
 * @param {(mine: Group, options: LockOptions) => void} queue
 * @param {number} heartbeatMs
 */
export function others(stream, mine, queue, heartbeatMs) {
  const me = crypto.randomUUID();
  const waiting = new AbortController();
  /** How many heartbeats the leader owes. */
  let missed = 0;
  let timer = 0;

  if (!mine.release) queue(mine, { signal: waiting.signal });

  /** As leader, tell the others. @param {string} event @param {any} [data] @param {string} [to] */
  function tell(event, data, to) {
    const { store, lastEventId: id } = stream;
    const { channel, release, term } = mine;
    if (release) channel.postMessage({ term, view: store.known.view, id, event, data, to });
  }

  /** As follower, have the leader do something. @param {Partial<Asked>} what */
  function request(what) {
    mine.channel.postMessage({ from: me, view: stream.view, ...what });
  }

  /** Ask for the leader's state, and from now on for a sign of life once a heartbeat. */
  function ask() {
    missed = 1;
    clearInterval(timer);
    timer = setInterval(beat, heartbeatMs);
    stream.asking();
    request({ isNew: true });
  }

  function beat() {
    if (mine.release || document.hidden) return;
    if (missed > 1) {
      waiting.abort();
      queue(mine, { steal: true });
    } else {
      if (missed++ > 0) stream.hear("connection", { state: "reconnecting", since: Date.now(), problem: null });
      request({});
    }
  }

  /** @param {Said} said */
  function heed({ term, view, id, event, data, to }) {
    // What was missed while the leader was silent is in its state.
    const wasSilent = missed > 1;
    mine.term = term;
    missed = 0;
    if (wasSilent && event !== "state") return ask();
    if (event === "lead") return request({});
    if (event === "pong" || (to && to !== me)) return;
    // One job would pass for all of them.
    if (stream.view !== "full" || view === "full") stream.hear(event, data, id);
  }

  return {
    tell,
    request,
    ask,
    /** @param {Said | Asked} message */
    take(message) {
      if ("from" in message) {
        if (!mine.release) return;
        stream.serve(message);
        if (message.isNew) tell("state", stream.store.known, message.from);
        else tell("pong");
      } else if (!mine.release && message.term >= mine.term) {
        heed(message);
      }
    },
    /** The page is looked at, or no longer. */
    look() {
      if (!mine.release && !document.hidden) ask();
    },
    end() {
      clearInterval(timer);
      waiting.abort();
    },
  };
}
