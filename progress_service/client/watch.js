/**
 * Who watches what: everything on a page that shows the same user of the same service shares one stream.
 *
 * The stream is the compact one as long as nobody needs more, and becomes the full one for good when somebody
 * does. Nothing is opened or closed before the end of the present task, so that elements which move in the
 * document, or come to life one after the other, cost no second connection.
 */

import { Connection } from "./connection.js";
import { Store } from "./store.js";

/** @import {GetToken} from "./types.d.ts" */

/** Where this module was loaded from is where the service is, unless somebody says otherwise. */
const HOME = new URL("..", import.meta.url).href;

/** @type {Map<string, Shared>} */
const shared = new Map();

/**
 * Begin to watch a user's jobs. `getSnapshot` and `subscribe` are those of a store; `release` ends it.
 * @param {object} options
 * @param {string} options.userId Names the shared stream. What it tells is decided by the credential alone.
 * @param {string | null} [options.src] Address of the service.
 * @param {boolean} [options.compact] One job and the totals are enough.
 * @param {GetToken | null} [options.getToken] Gives a bearer token; without it the session's cookie counts.
 */
export function watch({ userId, src = null, compact = false, getToken = null }) {
  const base = new URL(src === null ? HOME : src.replace(/\/*$/, "/"), document.baseURI).href;
  const key = JSON.stringify([base, userId]);
  const stream = shared.get(key) ?? new Shared(key, base);
  const { getSnapshot, subscribe } = stream.store;
  const watcher = { compact };
  stream.add(watcher);
  if (getToken) stream.useToken(getToken);
  return {
    getSnapshot,
    subscribe,
    /** @param {GetToken} get */
    useToken: (get) => stream.useToken(get),
    /** Try again now, for instance after signing in. */
    retry: () => stream.retry(),
    release: () => stream.remove(watcher),
  };
}

class Shared {
  store = new Store();
  #key;
  #connection;
  /** @type {Set<{compact: boolean}>} */
  #watchers = new Set();
  #needsAll = false;
  #isSettling = false;

  /** @param {string} key @param {string} base */
  constructor(key, base) {
    this.#key = key;
    this.#connection = new Connection(base, this.store.apply);
    shared.set(key, this);
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
    const isFirst = this.#connection.getToken === null;
    this.#connection.getToken = getToken;
    if (isFirst) this.#connection.reopen();
  }

  retry() {
    this.#connection.reopen();
  }

  #settle() {
    if (this.#isSettling) return;
    this.#isSettling = true;
    queueMicrotask(() => {
      this.#isSettling = false;
      if (this.#watchers.size > 0) return this.#connection.open(this.#needsAll ? "full" : "compact");
      this.#connection.close();
      shared.delete(this.#key);
    });
  }
}
