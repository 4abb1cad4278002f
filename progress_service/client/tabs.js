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

/** @import {ProgressState, View} from "./types.d.ts" */

/**
 * What a leader says. `view` is how much it knows; `to` is the one it is meant for, if not all. A larger
 * `term` is a newer leader, so that one which thaws after it was followed is not believed.
 * @typedef {{term: number, view: View | null, id: string, event: string, data?: any, to?: string}} Said
 *
 * What a follower asks for: an answer, the present state, or something that a debug panel does.
 * @typedef {{from: string, view: View, isNew?: boolean, act?: "drop" | "stall" | "endToken"}} Asked
 *
 * What this tab is to the others.
 * @typedef {object} Here
 * @property {View} view How much this tab needs.
 * @property {string} lastEventId
 * @property {ProgressState} known
 * @property {(event: string, data: any, id?: string) => void} hear Takes what the leader says.
 * @property {(asked: Asked) => void} serve As leader, do what a follower asks for.
 * @property {() => void} deposed The lock was taken away.
 */

export const HEARTBEAT_MS = 15_000;

export class Tabs {
  /** @type {Group | null} */
  #group = null;
  /** The newest leader that was heard of. */
  #term = 0;
  #id = Math.random().toString(36).slice(2);
  #heartbeatMs;
  #here;
  #timer = 0;
  #asked = 0;
  /** From asking the leader for its state to its answer. @type {number | null} */
  latencyMs = null;
  /** How many heartbeats the leader owes. */
  #missed = 0;

  /** Whether browser and page have what it takes: a secure context, above all. */
  static arePossible() {
    return "locks" in navigator && typeof BroadcastChannel === "function";
  }

  /** @param {Here} here @param {number} [heartbeatMs] */
  constructor(here, heartbeatMs = HEARTBEAT_MS) {
    this.#here = here;
    this.#heartbeatMs = heartbeatMs;
  }

  /** Whether this tab leads the group *name*. @param {string} name */
  leads(name) {
    return this.isLeader && this.#group?.name === name;
  }

  get isLeader() {
    return this.#group?.release != null;
  }

  get isFollower() {
    return this.#group !== null && !this.isLeader;
  }

  /** Follow the leader of the group *name*, until this tab leads. @param {string} name */
  async follow(name) {
    if (this.#group?.name !== name) {
      this.leave();
      this.#group = new Group(name, this.#take);
      this.#queue(this.#group);
    }
    this.#here.hear("role", "follower");
    this.#ask();
    this.#listen();
    await this.#group.granted;
  }

  /** Neither lead nor follow any longer. */
  leave() {
    if (!this.#group) return;
    this.#group.end();
    this.#group = null;
    this.#term = 0;
    this.#listen();
    this.#here.hear("role", "alone");
  }

  /** As leader, tell the others. @param {string} event @param {any} [data] @param {string} [to] */
  tell(event, data, to) {
    if (!this.isLeader) return;
    const { known, lastEventId: id } = this.#here;
    this.#group?.channel.postMessage({ term: this.#term, view: known.view, id, event, data, to });
  }

  /** As follower, have the leader do something. @param {Partial<Asked>} what */
  request(what) {
    this.#group?.channel.postMessage({ from: this.#id, view: this.#here.view, ...what });
  }

  /** The page is looked at, or no longer. */
  look() {
    if (this.#group && !this.isLeader && !document.hidden) this.#ask();
    this.#listen();
  }

  /** @param {Group} group @param {boolean} [steal] */
  async #queue(group, steal) {
    const options = steal ? { steal } : { signal: group.waiting.signal };
    try {
      await navigator.locks.request(group.name, options, () => this.#lead(group));
    } catch {
      // Either this tab has left or stolen, and knows, or the lock was taken away from it.
      if (group === this.#group && this.isLeader) {
        this.leave();
        this.#here.deposed();
      }
    }
  }

  /** @param {Group} group */
  #lead(group) {
    if (group !== this.#group) return;
    const held = group.hold();
    this.#term = Math.max(this.#term + 1, Date.now());
    this.#listen();
    this.#here.hear("role", "leader");
    this.tell("lead");
    return held;
  }

  #ask() {
    this.#missed = 1;
    this.#asked = performance.now();
    this.request({ isNew: true });
  }

  #listen() {
    clearInterval(this.#timer);
    if (!this.#group || this.isLeader || document.hidden) return;
    this.#timer = setInterval(() => this.#beat(this.#group), this.#heartbeatMs);
  }

  /** @param {Group | null} group */
  #beat(group) {
    if (!group) return;
    if (this.#missed > 1) {
      group.waiting.abort();
      this.#queue(group, true);
      return;
    }
    if (this.#missed++ > 0) {
      this.#here.hear("connection", { state: "reconnecting", since: Date.now(), problem: null });
    }
    this.request({});
  }

  /** @param {Said | Asked} message */
  #take = (message) => {
    if ("from" in message) {
      if (!this.isLeader) return;
      this.#here.serve(message);
      if (message.isNew) this.tell("state", this.#here.known, message.from);
      else this.tell("pong");
    } else if (!this.isLeader && message.term >= this.#term) {
      this.#heed(message);
    }
  };

  /** @param {Said} said */
  #heed({ term, view, id, event, data, to }) {
    // What was missed while the leader was silent is in its state.
    const wasSilent = this.#missed > 1;
    this.#term = term;
    this.#missed = 0;
    if (wasSilent && event !== "state") return this.#ask();
    if (event === "lead") return this.request({});
    if (event === "pong" || (to && to !== this.#id)) return;
    if (event === "state") this.latencyMs = performance.now() - this.#asked;
    // One job would pass for all of them.
    if (this.#here.view === "full" && view !== "full") return;
    this.#here.hear(event, data, id);
  }
}

/** The lock and the channel of one name. */
class Group {
  channel;
  waiting = new AbortController();
  /** @type {((value?: unknown) => void) | null} */
  release = null;
  /** @type {() => void} */
  #grant = () => {};
  /** @type {Promise<void>} */
  granted = new Promise((resolve) => (this.#grant = resolve));

  /** @param {string} name @param {(message: any) => void} take */
  constructor(name, take) {
    this.name = name;
    this.channel = new BroadcastChannel(name);
    this.channel.onmessage = ({ data }) => take(data);
  }

  /** Keep the lock as long as what this gives is pending. */
  hold() {
    const held = new Promise((resolve) => (this.release = resolve));
    this.#grant();
    return held;
  }

  end() {
    this.waiting.abort();
    this.channel.close();
    this.release?.();
  }
}
