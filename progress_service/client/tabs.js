/**
 * One stream for all tabs and windows of a browser: one of them leads, the others follow.
 *
 * Whoever holds the lock of a group leads, and says on the group's channel whatever its stream says. The
 * others queue for the lock, so that the browser itself names the next leader when a leader goes or crashes.
 * Nothing is elected here. Who arrives asks for the leader's present state; there is no replay.
 *
 * A leader that is frozen keeps its lock. So a follower that somebody looks at wants an answer once a
 * heartbeat, and takes the lock away from a leader that has missed two.
 */

/** @import {Act, View} from "./types.d.ts" */
/** @import {Stream} from "./watch.js" */
/** @typedef {ReturnType<typeof gather>} Tabs */

/**
 * What a leader says. `view` is how much it knows; `to` is the one it is meant for, if not all. A larger
 * `term` is a newer leader, so that one which thaws after it was followed is not believed.
 * @typedef {{term: number, view: View | null, id: string, event: string, data?: any, to?: string}} Said
 *
 * What a follower asks for: an answer, the present state, or something that a debug panel does.
 * @typedef {{from: string, view: View, isNew?: boolean, act?: Act}} Asked
 *
 * The lock and the channel of one name. Who leads can `release` the lock.
 * @typedef {object} Group
 * @property {string} name
 * @property {BroadcastChannel} channel
 * @property {AbortController} waiting
 * @property {Promise<unknown>} granted
 * @property {(value?: any) => void} grant
 * @property {(value?: any) => void} [release]
 */

const HEARTBEAT_MS = 15_000;

/**
 * This tab among those that share a stream. It is in no group yet. This takes a secure context.
 * @param {Stream} stream
 * @param {number} [heartbeatMs]
 */
export function gather(stream, heartbeatMs = HEARTBEAT_MS) {
  const me = crypto.randomUUID();
  /** @type {Group | null} */
  let group = null;
  /** The newest leader that was heard of. */
  let term = 0;
  /** How many heartbeats the leader owes. */
  let missed = 0;
  let timer = 0;

  const isFollower = () => group && !group.release;

  /** As leader, tell the others. @param {string} event @param {any} [data] @param {string} [to] */
  function tell(event, data, to) {
    const { store, lastEventId: id } = stream;
    if (group?.release) group.channel.postMessage({ term, view: store.known.view, id, event, data, to });
  }

  /** As follower, have the leader do something. @param {Partial<Asked>} what */
  function request(what) {
    group?.channel.postMessage({ from: me, view: stream.view, ...what });
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
    if (!group || group.release || document.hidden) return;
    if (missed > 1) {
      group.waiting.abort();
      queue(group, { steal: true });
    } else {
      if (missed++ > 0) stream.hear("connection", { state: "reconnecting", since: Date.now(), problem: null });
      request({});
    }
  }

  /** Neither lead nor follow any longer. */
  function leave() {
    if (!group) return;
    const { waiting, channel, release } = group;
    group = null;
    term = 0;
    clearInterval(timer);
    waiting.abort();
    channel.close();
    release?.();
    stream.hear("connection", { role: "alone" });
  }

  /** @param {string} name @returns {Group} */
  function joined(name) {
    const { promise: granted, resolve: grant } = Promise.withResolvers();
    const mine = { name, channel: new BroadcastChannel(name), waiting: new AbortController(), granted, grant };
    mine.channel.onmessage = ({ data }) => take(data);
    queue(mine, { signal: mine.waiting.signal });
    return mine;
  }

  /** @param {Group} mine @param {LockOptions} options */
  async function queue(mine, options) {
    try {
      await navigator.locks.request(mine.name, options, () => mine === group && lead(mine));
    } catch {
      // Either this tab has left or stolen, and knows, or the lock was taken away from it.
      if (mine === group && mine.release) {
        leave();
        stream.connection.reopen();
      }
    }
  }

  /** Keep the lock as long as what this gives is pending. @param {Group} mine */
  function lead(mine) {
    stream.hear("connection", { role: "leader" });
    term = Math.max(term + 1, Date.now());
    const { promise, resolve } = Promise.withResolvers();
    mine.release = resolve;
    mine.grant();
    tell("lead");
    return promise;
  }

  /** @param {Said | Asked} message */
  function take(message) {
    if ("from" in message) {
      if (!group?.release) return;
      stream.serve(message);
      if (message.isNew) tell("state", stream.store.known, message.from);
      else tell("pong");
    } else if (isFollower() && message.term >= term) {
      heed(message);
    }
  }

  /** @param {Said} said */
  function heed({ term: newest, view, id, event, data, to }) {
    // What was missed while the leader was silent is in its state.
    const wasSilent = missed > 1;
    term = newest;
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
    leave,
    isFollower,
    /** Whether this tab leads the group *name*. @param {string} name */
    leads: (name) => group?.name === name && group.release,
    /** Follow the leader of the group *name*, until this tab leads. @param {string} name */
    async follow(name) {
      if (group?.name !== name) leave();
      const mine = (group ??= joined(name));
      stream.hear("connection", { role: "follower" });
      ask();
      await mine.granted;
    },
    /** The page is looked at, or no longer. */
    look() {
      if (isFollower() && !document.hidden) ask();
    },
  };
}
