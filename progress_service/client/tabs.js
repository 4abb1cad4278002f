/**
 * One stream for all tabs and windows of a browser: one of them leads, the others follow.
 *
 * Whoever holds the lock of a group leads, and says on the group's channel whatever its stream says. The
 * others queue for the lock, so that the browser itself names the next leader when a leader goes or crashes.
 * Nothing is elected here. Most people have one tab: what leader and followers say to each other is in
 * `others.js`, which is loaded when there are two.
 */

/** @import {Asked, Others} from "./others.js" */
/** @import {Stream} from "./watch.js" */
/** @typedef {ReturnType<typeof gather>} Tabs */

/**
 * The lock and the channel of one name. Who leads can `release` the lock. A larger `term` is a newer leader.
 * @typedef {object} Group
 * @property {string} name
 * @property {BroadcastChannel} channel
 * @property {number} term
 * @property {Promise<unknown>} granted
 * @property {(value?: any) => void} grant
 * @property {(value?: any) => void} [release]
 * @property {Promise<unknown>} [tried] The lock was there for the taking, or was not.
 * @property {Others} [others]
 */

const HEARTBEAT_MS = 15_000;

/**
 * This tab among those that share a stream. It is in no group yet. This takes a secure context.
 * @param {Stream} stream
 * @param {number} [heartbeatMs]
 */
export function gather(stream, heartbeatMs = HEARTBEAT_MS) {
  /** @type {Group | null} */
  let group = null;

  /** Neither lead nor follow any longer. */
  function leave() {
    if (!group) return;
    const { channel, others, release } = group;
    group = null;
    channel.close();
    others?.end();
    release?.();
    stream.hear("connection", { role: "alone" });
  }

  /** Ask for the lock; it is given up when this tab leaves. @param {Group} mine @param {LockOptions} options */
  async function queue(mine, options) {
    try {
      await navigator.locks.request(mine.name, options, (lock) => lock && mine === group && lead(mine));
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
    mine.term = Math.max(mine.term + 1, Date.now());
    const { promise, resolve } = Promise.withResolvers();
    mine.release = resolve;
    mine.grant();
    mine.others?.tell("lead");
    return promise;
  }

  /** There is another tab: have what that takes, if it can be had. @param {Group} mine */
  async function othersOf(mine) {
    const module = await import("./others.js").catch(() => null);
    if (mine === group) mine.others ??= module?.others(stream, mine, queue, heartbeatMs);
    return mine.others;
  }

  /** @param {string} name @returns {Group} */
  function joined(name) {
    const { promise: granted, resolve: grant } = Promise.withResolvers();
    /** @type {Group} */
    const mine = { name, channel: new BroadcastChannel(name), term: 0, granted, grant };
    mine.channel.onmessage = async ({ data }) => (await othersOf(mine))?.take(data);
    mine.tried = Promise.race([granted, queue(mine, { ifAvailable: true })]);
    return mine;
  }

  return {
    leave,
    isFollower: () => group && !group.release,
    /** As leader, tell the others. @param {string} event @param {any} data */
    tell: (event, data) => group?.others?.tell(event, data),
    /** As follower, have the leader do something. @param {Partial<Asked>} what */
    request: (what) => group?.others?.request(what),
    /** The page is looked at, or no longer. */
    look: () => group?.others?.look(),
    /** Whether this tab leads the group *name*. @param {string} name */
    leads: (name) => group?.name === name && group.release,
    /** Follow the leader of the group *name*, until this tab leads, or has to do without the others. @param {string} name */
    async follow(name) {
      if (group?.name !== name) leave();
      const mine = (group ??= joined(name));
      await mine.tried;
      if (mine !== group || mine.release) return;
      stream.hear("connection", { role: "follower" });
      const others = await othersOf(mine);
      if (mine !== group) return;
      if (!others) return leave();
      others.ask();
      await mine.granted;
    },
  };
}
