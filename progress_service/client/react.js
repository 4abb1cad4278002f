/**
 * For pages that are made with React (18 or newer): a hook, and the element as a component.
 *
 * They have the names and the props of the hook on a database's own realtime channel that they replace, so
 * that a page changes one import. React is whatever the page calls `react`. Importing this touches no
 * document, so it may also be imported where pages are rendered on a server.
 */

import { createElement, useEffect, useMemo, useRef, useSyncExternalStore } from "react";
import { NOTHING_KNOWN, watch } from "./watch.js";

/** @import {EnrichmentProgress, EnrichmentProgressBarProps, UseOptions} from "./react-types.d.ts" */
/** @import {Command, GetToken, Watch} from "./types.d.ts" */

/** What the element calls them, and what a component does. */
const ATTRIBUTES = /** @type {const} */ ({
  "user-id": "userId",
  src: "src",
  compact: "compact",
  theme: "theme",
  lang: "lang",
  history: "history",
  notify: "notify",
  "title-progress": "titleProgress",
  demo: "demo",
});
const EVENTS = /** @type {const} */ ({
  "job-change": "onJobChange",
  "job-finished": "onJobFinished",
  "connection-change": "onConnectionChange",
  "command-failed": "onCommandFailed",
});

/**
 * A user's jobs, live: those at work, and those that ended within the last seconds. Without a user nothing is
 * watched.
 * @param {string | null | undefined} userId
 * @param {UseOptions} [options]
 * @returns {EnrichmentProgress}
 */
export function useEnrichmentProgress(userId, { src, getToken } = {}) {
  const token = useNewestToken(getToken);
  const watched = useMemo(() => watchedLater(userId, src, token), [userId, src, token]);
  const state = useSyncExternalStore(watched.subscribe, watched.getSnapshot, () => NOTHING_KNOWN);
  const { jobs: activeJobs, totals, connection, view } = state;
  const isLoading = Boolean(userId) && view === null && !connection.problem;
  return { activeJobs, totals, connection, isLoading, ...watched.commands };
}

/**
 * The element as a component.
 * @param {EnrichmentProgressBarProps} props
 */
export function EnrichmentProgressBar(props) {
  const { className, style, getToken } = props;
  const bar = useRef(/** @type {any} */ (null));
  const newest = useRef(props);
  const token = useNewestToken(getToken);
  // React 18 knows nothing of a custom element's properties and events, and React 19 takes "" for false.
  useEffect(() => {
    newest.current = props;
    bar.current.getToken = token;
    for (const [name, prop] of Object.entries(ATTRIBUTES)) show(bar.current, name, props[prop]);
  });
  useEffect(() => {
    import("./enrichment-progress-bar.js");
    const leaving = new AbortController();
    for (const [name, prop] of Object.entries(EVENTS)) {
      const hear = (/** @type {any} */ event) => newest.current[prop]?.(event);
      bar.current.addEventListener(name, hear, leaving);
    }
    return () => leaving.abort();
  }, []);
  return createElement("enrichment-progress-bar", { ref: bar, class: className, style });
}

/**
 * One and the same function, which asks the newest `getToken`; null without one.
 * @param {GetToken | null} [getToken]
 */
function useNewestToken(getToken) {
  const newest = useRef(getToken);
  useEffect(() => void (newest.current = getToken));
  const isThere = Boolean(getToken);
  return useMemo(() => (isThere ? () => newest.current?.() ?? null : null), [isThere]);
}

/**
 * A watch that begins with its first subscriber and ends with its last, since React may render what it never
 * shows.
 * @param {string | null | undefined} userId
 * @param {string | null | undefined} src
 * @param {GetToken | null} getToken
 */
function watchedLater(userId, src, getToken) {
  /** @type {Watch | null} */
  let watched = null;
  let subscribers = 0;
  /** @param {Command} command @returns {(id: string) => Promise<void>} */
  const send = (command) => async (id) => watched?.[command](id);
  return {
    commands: { pause: send("pause"), resume: send("resume"), cancel: send("cancel") },
    getSnapshot: () => watched?.getSnapshot() ?? NOTHING_KNOWN,
    /** @param {() => void} listener */
    subscribe: (listener) => {
      if (!userId) return () => {};
      watched ??= watch({ userId, src, getToken });
      subscribers += 1;
      const stop = watched.subscribe(listener);
      return () => {
        stop();
        subscribers -= 1;
        if (subscribers > 0) return;
        watched?.release();
        watched = null;
      };
    },
  };
}

/**
 * @param {HTMLElement} element
 * @param {string} attribute
 * @param {string | boolean | null | undefined} value
 */
function show(element, attribute, value) {
  const text = value === true ? "" : value || null;
  if (element.getAttribute(attribute) === text) return;
  if (text === null) element.removeAttribute(attribute);
  else element.setAttribute(attribute, text);
}
