/**
 * What an element does between two changes of its attributes: it watches, tells, and draws one of the two
 * views, at most once a frame. What not every page needs is loaded by those that do.
 */

import { texts } from "./languages.js";
import { make, write } from "./parts.js";
import { NOTHING_KNOWN, isCurrent, isFinished } from "./store.js";
import { languageOf } from "./texts.js";
import { watch as watchJobs } from "./watch.js";

/** @import {EnrichmentProgressBar} from "./element.js" */
/** @import {Language} from "./texts.js" */
/** @import {Command, Debug, GetToken, Job, Problem, ProgressState, Watch as Watched} from "./types.d.ts" */

/**
 * @typedef {Omit<Watched, "debug"> & {debug?: Debug, now?: () => number}} Watch A scene has its own clock.
 */
/** @typedef {readonly [job: Job, before: Job | null]} Change */
/**
 * What follows the jobs besides the view. It hears every change, also while the page is hidden.
 * @typedef {(changes: readonly Change[], state: ProgressState) => void} Follower
 */
/** @typedef {{follow: (host: Host) => Follower}} Part */
/** @typedef {(news: readonly Change[]) => void} Speaker */
/** @typedef {{element: HTMLElement, render: (state: ProgressState, now: number) => void}} View */

/**
 * Why a command was refused. It is ours to say so, unless the page has: then it prevents the event's default.
 * @typedef {{error: unknown, problem: Problem | null, isOurs: boolean}} Refusal
 *
 * What the parts know of the element that they belong to. `ask` asks something of a job; `announce` speaks to
 * those who listen; `signal` ends all.
 * @typedef {object} Host
 * @property {EnrichmentProgressBar} element
 * @property {ShadowRoot} root
 * @property {Language} language
 * @property {Watch | null} watch
 * @property {AbortSignal} signal
 * @property {() => void} renderSoon
 * @property {(command: Command, id: string) => Promise<Refusal | undefined>} ask
 * @property {(text: string) => void} announce
 */

const SECOND_MS = 1_000;

/** Begin what the attributes of *element* ask for now. @param {EnrichmentProgressBar} element @param {ShadowRoot} root */
export function begin(element, root) {
  const leaving = new AbortController();
  const { signal } = leaving;
  /** @type {Watch | null} */
  let watch = null;
  /** @type {View | null} */
  let view = null;
  let state = NOTHING_KNOWN;
  /** @type {Host | null} */
  let host = null;
  /** Says aloud what is news. @type {Promise<Speaker> | undefined} */
  let voice;
  // A live region has to be there before it says something.
  const region = make("div", "unseen");
  /** @type {Set<Follower>} */
  const followers = new Set();
  let frame = 0;
  let timer = 0;

  async function show() {
    const { compact, demo, userId, src, getToken } = element;
    const module = compact ? import("./line.js") : import("./card.js");
    const parts = [
      element.history && !compact && import("./history.js"),
      element.notify && import("./notifications.js"),
      element.titleProgress && import("./title.js"),
      location.search.includes("progress-debug") && import("./debug.js"),
    ];
    const spoken = /** @type {HTMLElement | null} */ (element.closest("[lang]"))?.lang;
    const tag = spoken || document.documentElement.lang || "en";
    signal.addEventListener("abort", texts.subscribe(() => element.attributeChangedCallback()));
    if (demo !== null) {
      const { play } = await import("./demo.js");
      if (!signal.aborted) use(play(demo));
    } else if (userId) {
      // Whoever notifies has to know every job.
      use(watchJobs({ userId, src, compact: compact && !element.notify, getToken }));
    }
    const { view: viewOf, sheets } = await module;
    const language = await languageOf(tag);
    // Buttons that come after the card would move what is below it.
    await Promise.allSettled(parts);
    if (signal.aborted) return;
    const announce = (/** @type {string} */ text) => write(region, text);
    host = { element, root, language, watch, signal, renderSoon, ask, announce };
    view = viewOf(host);
    root.adoptedStyleSheets = sheets;
    region.role = "status";
    root.replaceChildren(view.element, region);
    render();
    for (const part of parts) if (part) add(part, host);
  }

  /** @param {Watch} watched */
  function use(watched) {
    watch = watched;
    const unsubscribe = watch.subscribe(hear);
    signal.addEventListener("abort", () => {
      unsubscribe();
      watched.release();
      watch = null;
      followers.clear();
      hear();
    });
    hear();
  }

  /** @param {Promise<Part>} module @param {Host} host */
  async function add(module, host) {
    const { follow } = await module;
    if (signal.aborted) return;
    const follower = follow(host);
    followers.add(follower);
    follower([], state);
  }

  function hear() {
    const before = state;
    state = watch?.getSnapshot() ?? NOTHING_KNOWN;
    const { connection, feed, jobs } = state;
    const changes = changesOf(before.jobs, jobs);
    for (const [job, before] of changes) {
      tell("job-change", { job, before });
      if (before && isFinished(job) && !isFinished(before)) tell("job-finished", { job });
    }
    if (connection !== before.connection || feed !== before.feed) tell("connection-change", { connection, feed });
    for (const follow of followers) follow(changes, state);
    // What was there when the page opened is no news.
    if (before.view) speak(changes.filter(([job, before]) => quarterOf(job) > quarterOf(before)));
    renderSoon();
  }

  /** @param {readonly Change[]} news */
  async function speak(news) {
    if (!host || news.length === 0) return;
    voice ??= import("./announcer.js").then(({ speaker }) => speaker(/** @type {Host} */ (host)));
    (await voice)(news);
  }

  function renderSoon() {
    frame ||= requestAnimationFrame(render);
  }

  /** Draw, and draw again with the next second as long as times run and somebody looks. */
  function render() {
    frame = 0;
    view?.render(state, watch?.now?.() ?? Date.now() + state.skewMs);
    clearTimeout(timer);
    if (isCurrent(state) && state.jobs.some((job) => !isFinished(job)))
      timer = setTimeout(renderSoon, SECOND_MS - (Date.now() % SECOND_MS));
  }

  /** @type {Host["ask"]} */
  async function ask(command, id) {
    try {
      await watch?.[command](id);
    } catch (error) {
      const { problem = null } = /** @type {{problem?: Problem}} */ (error);
      return { error, problem, isOurs: tell("command-failed", { id, command, problem }) };
    }
  }

  /** @param {string} type @param {object} detail */
  function tell(type, detail) {
    const cancelable = type === "command-failed";
    return element.dispatchEvent(new CustomEvent(type, { detail, bubbles: true, composed: true, cancelable }));
  }

  show();
  return {
    end: () => leaving.abort(),
    /** @param {GetToken} getToken */
    useToken: (getToken) => watch?.useToken(getToken),
    ask,
  };
}

/** Which quarter the job is in: the first is 0, its end 4, and before it was known -1. @param {Job | null} job */
const quarterOf = (job) => (!job ? -1 : isFinished(job) ? 4 : Math.min(3, Math.floor(job.percentage / 25)));

/**
 * What is new among the jobs, each with what it was before.
 * @param {readonly Job[]} before
 * @param {readonly Job[]} after
 * @returns {Change[]}
 */
function changesOf(before, after) {
  const known = new Map(before.map((job) => [job.id, job]));
  const fresh = after.filter((job) => known.get(job.id) !== job);
  return fresh.map((job) => [job, known.get(job.id) ?? null]);
}
