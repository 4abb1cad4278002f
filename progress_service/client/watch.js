/**
 * Who watches what: everything that shows the same user of the same service shares one stream, on this page
 * and on the others of this browser.
 *
 * The stream is the compact one as long as nobody needs more, and becomes the full one for good when somebody
 * does. Nothing is opened or closed before the end of the present task, so that elements which move in the
 * document, or come to life one after the other, cost no second connection.
 */

import { isCurrent, isFinished, latestJob, NOTHING_KNOWN, Store } from "./store.js";
import { CommandFailed, history, send } from "./commands.js";
import { connect } from "./connection.js";
import { gather } from "./tabs.js";

/** @import {Act, Command, Debug, GetToken, HistoryQuery, StreamEvent, View, Watch, WatchOptions} from "./types.d.ts" */
/** @import {Connection} from "./connection.js" */
/** @import {Asked} from "./others.js" */

/**
 * One user's stream, as the modules that make it up see it.
 * @typedef {object} Stream
 * @property {string} base Address of the service, ending in a slash.
 * @property {string} key The same, with what the page calls the user.
 * @property {GetToken | null} getToken Asked at every attempt. Without it the cookie counts.
 * @property {View} view How much of the jobs is needed here.
 * @property {Store} store
 * @property {Connection} connection
 * @property {string} lastEventId
 * @property {() => void} asking The service, or the tab that leads, is being asked for its state.
 * @property {(event: string, data: any, id?: string) => void} hear Take what the service says, or the tab that
 * leads, or a change here.
 * @property {(asked: Asked) => void} serve As leader, do what a follower asks for.
 */

/** Where this module was loaded from is where the service is, unless somebody says otherwise. */
const HOME = new URL("..", import.meta.url).href;

export { CommandFailed, isCurrent, isFinished, latestJob, NOTHING_KNOWN, Store };

/**
 * What is watched. A page may have this module more than once, in a bundle of its own and with the element: all
 * of them share it.
 * @type {Map<string, ReturnType<typeof share>>}
 */
const shared = (/** @type {any} */ (globalThis)[Symbol.for("enrichment-progress 1")] ??= new Map());

/**
 * Begin to watch a user's jobs. `getSnapshot` and `subscribe` are those of a store; `release` ends it.
 * @param {WatchOptions} options
 * @returns {Watch}
 */
export function watch({ userId, src, compact = false, getToken, heartbeatMs }) {
  const base = new URL(src?.replace(/\/*$/, "/") ?? HOME, document.baseURI).href;
  const key = `${base} ${userId}`;
  const stream = shared.get(key) ?? share(base, key, heartbeatMs);
  shared.set(key, stream);
  const release = stream.join(!compact);
  if (getToken) stream.watch.useToken(getToken);
  return { ...stream.watch, release };
}

/**
 * One user's state on this page, and where it comes from: the service, or the tab that leads.
 * @param {string} base @param {string} key @param {number} [heartbeatMs]
 */
function share(base, key, heartbeatMs) {
  const store = new Store();
  const watchers = new Set();
  /** @type {Set<(event: StreamEvent) => void>} */
  const logs = new Set();
  let needsAll = false;
  let isSettling = false;
  let askedAt = 0;
  /** @type {number | null} */
  let latencyMs = null;

  const stream = /** @type {Stream} */ ({
    base,
    key,
    getToken: null,
    view: "compact",
    store,
    lastEventId: "",
    asking() {
      askedAt = performance.now();
      latencyMs = null;
    },
    hear(event, data, id) {
      if (id !== undefined) {
        stream.lastEventId = id;
        latencyMs ??= performance.now() - askedAt;
      }
      store.apply(event, data);
      const { connection, view } = store.known;
      // Those who needed everything need it still when this tab leads.
      if (view === "full") stream.view = view;
      tabs?.tell(event, data);
      const from = connection.role === "follower" ? "tab" : "stream";
      for (const log of logs) log({ event, data, from, lastEventId: stream.lastEventId });
    },
    serve({ view, isNew, act }) {
      if (view === "full") connection.open(view);
      if (act) connection[act]();
      // Whoever comes has just heard from the service.
      else if (isNew) connection.nudge();
    },
  });
  // Tabs find each other in a secure context only.
  const tabs = navigator.locks ? gather(stream, heartbeatMs) : undefined;
  const connection = (stream.connection = connect(stream, tabs));

  function settle() {
    if (isSettling) return;
    isSettling = true;
    queueMicrotask(() => {
      isSettling = false;
      if (watchers.size > 0) return connection.open(needsAll ? "full" : stream.view);
      connection.close();
      shared.delete(key);
    });
  }

  /** @param {Act} act */
  const disturb = (act) => () => (tabs?.isFollower() ? tabs.request({ act }) : connection[act]());
  /** @param {Command} command */
  const asked = (command) => (/** @type {string} */ id) =>
    send(base, stream.getToken, id, command, store.ask(id, command));

  return {
    /** @param {boolean} isForAll Whether one job is not enough. */
    join(isForAll) {
      const watcher = {};
      watchers.add(watcher);
      needsAll ||= isForAll;
      settle();
      return () => {
        watchers.delete(watcher);
        settle();
      };
    },
    watch: {
      getSnapshot: store.getSnapshot,
      subscribe: store.subscribe,
      /**
       * A first source of tokens replaces the cookie at once, another one from the next attempt on.
       * @param {GetToken} getToken
       */
      useToken(getToken) {
        const isFirst = !stream.getToken;
        stream.getToken = getToken;
        if (isFirst) connection.reopen();
      },
      retry: connection.reopen,
      pause: asked("pause"),
      resume: asked("resume"),
      cancel: asked("cancel"),
      /** @param {HistoryQuery} [query] */
      history: (query) => history(base, stream.getToken, query),
      /** @type {Debug} It acts on the stream, whichever tab has it. */
      debug: {
        status: () => ({ lastEventId: stream.lastEventId, latencyMs }),
        listen(listener) {
          logs.add(listener);
          return () => void logs.delete(listener);
        },
        drop: disturb("drop"),
        stall: disturb("stall"),
        endToken: disturb("endToken"),
      },
    },
  };
}
