/**
 * Who watches what: everything that shows the same user of the same service shares one stream, on this page
 * and on the others of this browser.
 *
 * The stream is the compact one as long as nobody needs more, and becomes the full one for good when somebody
 * does. Nothing is opened or closed before the end of the present task, so that elements which move in the
 * document, or come to life one after the other, cost no second connection.
 */

import { CommandFailed, history, send } from "./commands.js";
import { Connection } from "./connection.js";
import { isCurrent, isFinished, latestJob, NOTHING_KNOWN, Store } from "./store.js";
import { Tabs } from "./tabs.js";

/** @import {Command, GetToken, HistoryQuery, StreamEvent, Watch, WatchOptions} from "./types.d.ts" */
/** @import {Asked} from "./tabs.js" */

/** Where this module was loaded from is where the service is, unless somebody says otherwise. */
const HOME = new URL("..", import.meta.url).href;

export { CommandFailed, isCurrent, isFinished, latestJob, NOTHING_KNOWN, Store };

/** @type {Map<string, Shared>} */
const shared = new Map();

/**
 * Begin to watch a user's jobs. `getSnapshot` and `subscribe` are those of a store; `release` ends it.
 * @param {WatchOptions} options
 * @returns {Watch}
 */
export function watch({ userId, src = null, compact = false, getToken = null, heartbeatMs }) {
  const base = new URL(src === null ? HOME : src.replace(/\/*$/, "/"), document.baseURI).href;
  const key = JSON.stringify([base, userId]);
  const stream = shared.get(key) ?? new Shared(key, base, userId, heartbeatMs);
  const { getSnapshot, subscribe } = stream.store;
  const watcher = { compact };
  stream.add(watcher);
  if (getToken) stream.useToken(getToken);
  return {
    getSnapshot,
    subscribe,
    useToken: (get) => stream.useToken(get),
    retry: () => stream.connection.reopen(),
    release: () => stream.remove(watcher),
    pause: (id) => stream.command(id, "pause"),
    resume: (id) => stream.command(id, "resume"),
    cancel: (id) => stream.command(id, "cancel"),
    history: (query) => stream.history(query),
    debug: stream.debug(),
  };
}

/** One user's state on this page, and where it comes from: the service, or the tab that leads. */
class Shared {
  store = new Store();
  connection;
  #key;
  #base;
  /** @type {Set<{compact: boolean}>} */
  #watchers = new Set();
  /** @type {Set<(event: StreamEvent) => void>} */
  #logs = new Set();
  #needsAll = false;
  #isSettling = false;

  /** @param {string} key @param {string} base @param {string} userId @param {number} [heartbeatMs] */
  constructor(key, base, userId, heartbeatMs) {
    this.#key = key;
    this.#base = base;
    this.connection = new Connection(base, userId, this.#take);
    if (Tabs.arePossible()) this.connection.tabs = new Tabs(this, heartbeatMs);
    shared.set(key, this);
  }

  /**
   * What a debug panel shows and does. It acts on the stream, whichever tab has it.
   * @returns {Watch["debug"]}
   */
  debug() {
    const { connection } = this;
    /** @param {"drop" | "stall" | "endToken"} act */
    const action = (act) => () =>
      connection.isFollower ? connection.tabs?.request({ act }) : connection[act]();
    return {
      status: () => {
        const { latencyMs = null } = (connection.isFollower && connection.tabs) || connection;
        return { lastEventId: connection.lastEventId, latencyMs };
      },
      listen: (listener) => {
        this.#logs.add(listener);
        return () => void this.#logs.delete(listener);
      },
      drop: action("drop"),
      stall: action("stall"),
      endToken: action("endToken"),
    };
  }

  /** @param {{compact: boolean}} watcher */
  add(watcher) {
    this.#watchers.add(watcher);
    this.#needsAll ||= !watcher.compact;
    this.#settle();
  }

  /** @param {{compact: boolean}} watcher */
  remove(watcher) {
    this.#watchers.delete(watcher);
    this.#settle();
  }

  /**
   * A first source of tokens replaces the cookie at once, another one from the next attempt on.
   * @param {GetToken} getToken
   */
  useToken(getToken) {
    const isFirst = this.connection.getToken === null;
    this.connection.getToken = getToken;
    if (isFirst) this.connection.reopen();
  }

  /** @param {string} id @param {Command} command */
  async command(id, command) {
    await send(this.#base, this.connection.getToken, id, command, this.store.ask(id, command));
  }

  /** @param {HistoryQuery} [query] */
  async history(query) {
    return history(this.#base, this.connection.getToken, query);
  }

  // What other tabs see of this one.

  get view() {
    return this.connection.view;
  }

  get lastEventId() {
    return this.connection.lastEventId;
  }

  get known() {
    return this.store.known;
  }

  /** What the leader says. @param {string} event @param {any} data @param {string} [id] */
  hear(event, data, id) {
    if (id !== undefined) this.connection.lastEventId = id;
    // Those who needed everything need it still when this tab leads.
    if (this.known.view === "full") this.connection.view = "full";
    this.#note(event, data, "tab");
  }

  /** As leader, do what a follower asks for. @param {Asked} asked */
  serve({ view, isNew, act }) {
    if (view === "full") this.connection.open(view);
    if (act) this.connection[act]();
    // Whoever comes has just heard from the service.
    else if (isNew) this.connection.nudge();
  }

  /** The lock was taken away: another tab leads. */
  deposed() {
    this.connection.reopen();
  }

  /** @param {string} event @param {any} data */
  #take = (event, data) => {
    this.#note(event, data, "stream");
    this.connection.tabs?.tell(event, data);
  };

  /** @param {string} event @param {any} data @param {StreamEvent["from"]} from */
  #note(event, data, from) {
    this.store.apply(event, data);
    const { lastEventId } = this.connection;
    for (const log of this.#logs) log({ at: Date.now(), event, data, from, lastEventId });
  }

  #settle() {
    if (this.#isSettling) return;
    this.#isSettling = true;
    queueMicrotask(() => {
      this.#isSettling = false;
      const { connection } = this;
      if (this.#watchers.size > 0) return connection.open(this.#needsAll ? "full" : connection.view);
      connection.close();
      shared.delete(this.#key);
    });
  }
}
