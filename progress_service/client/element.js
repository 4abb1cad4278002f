/**
 * The element: attributes in, one of the two views and events out. It draws at most once a frame. Importing
 * this defines nothing. What not every page needs is loaded by those that do.
 */

import { Attributes } from "./attributes.js";
import { everySecond } from "./clock.js";
import { texts } from "./languages.js";
import { View as Line } from "./line.js";
import { NOTHING_KNOWN, isCurrent, isFinished } from "./store.js";
import { languageOf } from "./texts.js";
import { watch } from "./watch.js";

/** @import {View as Card} from "./card.js" */
/** @import {Language} from "./texts.js" */
/** @import {GetToken, Job, Problem, ProgressState, Watch as Watched} from "./types.d.ts" */

/** @typedef {"pause" | "resume" | "cancel"} Command */
/**
 * @typedef {Omit<Watched, "debug"> & {debug?: Watched["debug"], now?: () => number}} Watch A scene has its
 * own clock.
 */
/** @typedef {readonly [job: Job, before: Job | null]} Change */
/**
 * What follows the jobs besides the view. It hears every change, also while the page is hidden.
 * @typedef {(changes: readonly Change[], state: ProgressState) => void} Follower
 */
/** @typedef {() => Promise<{follow: (host: Host) => Follower}>} Load */

/**
 * What the parts know of the element that they belong to. `act` asks something of a job, and gives what there
 * is to say when that is refused; `announce` says it to those who listen; `signal` ends all.
 * @typedef {object} Host
 * @property {EnrichmentProgressBar} element
 * @property {ShadowRoot} root
 * @property {Language} language
 * @property {Watch | null} watch
 * @property {AbortSignal} signal
 * @property {() => void} renderSoon
 * @property {(command: Command, job: Job) => Promise<string>} act
 * @property {(text: string) => void} announce
 */

/** @type {Load} */
const announcer = () => import("./announcer.js");
/** @type {Load} */
const debug = () => import("./debug.js");
/** What a page asks for by an attribute. @type {[string, Load][]} */
const WANTED = [
  ["notify", () => import("./notifications.js")],
  ["title-progress", () => import("./title.js")],
];

/**
 * Live progress of a user's jobs.
 *
 * @attr {string} user-id - Names the user; without it nothing is watched.
 * @attr {string} src - The address of the service, if this module was not loaded from it.
 * @attr {boolean} compact - One line instead of a card.
 * @attr {boolean} reserve - The line keeps its place while there is nothing to show.
 * @attr {"light" | "dark" | "system"} theme - If the element shall not follow the `color-scheme` of the page.
 * @attr {string} lang - The language; without it that of the page.
 * @attr {boolean} history - The card offers the jobs that have ended.
 * @attr {boolean} notify - People may be notified when a job ends.
 * @attr {boolean} title-progress - The title of the page shows the percentage.
 * @attr {string} demo - A scene that plays without a service.
 *
 * @fires {CustomEvent<{job: Job, before: Job | null}>} job-change - A job is new to the page, or has changed.
 * @fires {CustomEvent<{job: Job}>} job-finished - A job that the page had seen at work has ended.
 * @fires {CustomEvent<{connection: ConnectionState, feed: Feed}>} connection-change - How far to trust figures.
 * @fires {CustomEvent<{id: string, command: Command, problem: Problem | null}>} command-failed - Refused.
 * Who prevents its default says so instead of the element.
 */
export class EnrichmentProgressBar extends Attributes {
  /** The words of other languages: `texts.set("fr", { running: "En cours", … })`. */
  static texts = texts;

  #root = this.attachShadow({ mode: "open" });
  /** @type {Card | Line | null} */
  #view = null;
  /** @type {Watch | null} */
  #watch = null;
  #state = NOTHING_KNOWN;
  /** @type {GetToken | null} */
  #getToken = null;
  /** @type {Set<Follower>} */
  #followers = new Set();
  #frame = 0;
  #isRestarting = false;
  /** Ends all that belongs to the present attributes. @type {AbortController | null} */
  #present = null;
  /** @type {(() => void) | undefined} */
  #stopClock;

  /**
   * Gives a bearer token, or a promise of one, at every attempt to connect. Without it the session's cookie
   * counts.
   */
  get getToken() {
    return this.#getToken;
  }

  set getToken(getToken) {
    this.#getToken = getToken;
    if (getToken) this.#watch?.useToken(getToken);
  }

  /** Ask the worker to pause. @param {string} id Of a job. */
  async pause(id) {
    await this.#ask("pause", id);
  }

  /** Ask the worker to go on. @param {string} id Of a job. */
  async resume(id) {
    await this.#ask("resume", id);
  }

  /**
   * Ask the worker to stop for good. This does not ask whether people are sure.
   * @param {string} id Of a job.
   */
  async cancel(id) {
    await this.#ask("cancel", id);
  }

  connectedCallback() {
    this.#isRestarting = true;
    this.adopt(["getToken"]);
    this.#isRestarting = false;
    this.#start();
  }

  disconnectedCallback() {
    this.#present?.abort();
  }

  attributeChangedCallback() {
    if (!this.#present || this.#isRestarting) return;
    this.#isRestarting = true;
    queueMicrotask(() => {
      this.#isRestarting = false;
      if (this.isConnected) this.#start();
    });
  }

  async #start() {
    this.#present?.abort();
    this.#present = new AbortController();
    const { signal } = this.#present;
    const { compact, userId, src, demo } = this;
    const view = compact ? { View: Line } : import("./card.js");
    const spoken = /** @type {HTMLElement | null} */ (this.closest("[lang]"))?.lang;
    const language = languageOf(spoken || document.documentElement.lang || "en");
    signal.addEventListener(
      "abort",
      texts.subscribe(() => this.attributeChangedCallback()),
    );
    if (demo !== null) {
      const { play } = await import("./demo.js");
      if (!signal.aborted) this.#begin(play(demo), signal);
    } else if (userId) {
      // Whoever notifies has to know every job.
      const isBrief = compact && !this.notify;
      this.#begin(watch({ userId, src, compact: isBrief, getToken: this.#getToken }), signal);
    }
    const { View } = await view;
    const host = this.#host(await language, signal);
    if (signal.aborted) return;
    this.#view = new View(host);
    this.#root.adoptedStyleSheets = View.styles;
    this.#root.replaceChildren(this.#view.element);
    this.#render();
    for (const [attribute, load] of WANTED) if (this.hasAttribute(attribute)) this.#add(load, host);
    if (this.#watch) this.#add(announcer, host);
    if (new URLSearchParams(location.search).has("progress-debug")) this.#add(debug, host);
  }

  /** @param {Watch} watch @param {AbortSignal} signal */
  #begin(watch, signal) {
    this.#watch = watch;
    const unsubscribe = watch.subscribe(this.#hear);
    signal.addEventListener("abort", () => {
      unsubscribe();
      watch.release();
      this.#watch = null;
      this.#followers.clear();
      this.#hear();
    });
    this.#hear();
  }

  /** @param {Language} language @param {AbortSignal} signal */
  #host(language, signal) {
    /** @type {Host} */
    const host = {
      element: this,
      root: this.#root,
      language,
      watch: this.#watch,
      signal,
      renderSoon: this.#renderSoon,
      act: async (command, { id }) => {
        const refusal = await this.#refusal(command, id);
        if (!refusal?.isOurs) return "";
        const { title = String(refusal.error), detail } = refusal.problem ?? {};
        const text = language.say("refusal", { action: language.say(command), reason: detail || title });
        host.announce(text);
        return text;
      },
      announce: () => {},
    };
    return host;
  }

  /** @param {Load} load @param {Host} host */
  async #add(load, host) {
    const { follow } = await load();
    if (host.signal.aborted) return;
    const follower = follow(host);
    this.#followers.add(follower);
    follower([], this.#state);
  }

  #hear = () => {
    const before = this.#state;
    const state = (this.#state = this.#watch?.getSnapshot() ?? NOTHING_KNOWN);
    const { connection, feed, jobs } = state;
    const changes = changesOf(before.jobs, jobs);
    for (const [job, was] of changes) {
      this.#tell("job-change", { job, before: was });
      if (was && isFinished(job) && !isFinished(was)) this.#tell("job-finished", { job });
    }
    if (connection !== before.connection || feed !== before.feed)
      this.#tell("connection-change", { connection, feed });
    for (const follow of this.#followers) follow(changes, state);
    this.#keepTime(isCurrent(state) && jobs.some((job) => !isFinished(job)));
    this.#renderSoon();
  };

  /** Draw every second, as long as times run. @param {boolean} isRunning */
  #keepTime(isRunning) {
    if (isRunning) this.#stopClock ??= everySecond(this.#renderSoon);
    else this.#stopClock = void this.#stopClock?.();
  }

  /** @param {Command} command @param {string} id */
  async #ask(command, id) {
    const refusal = await this.#refusal(command, id);
    if (refusal) throw refusal.error;
  }

  /**
   * Ask something of a job. When that is refused, a page may say so itself: it prevents the event's default.
   * @param {Command} command @param {string} id
   */
  async #refusal(command, id) {
    try {
      await this.#watch?.[command](id);
      return null;
    } catch (error) {
      const { problem = null } = /** @type {{problem?: Problem}} */ (error);
      return { error, problem, isOurs: this.#tell("command-failed", { id, command, problem }) };
    }
  }

  #renderSoon = () => {
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      this.#render();
    });
  };

  #render() {
    this.#view?.render(this.#state, this.#watch?.now?.() ?? Date.now());
  }

  /** @param {string} type @param {object} detail */
  #tell(type, detail) {
    const cancelable = type === "command-failed";
    return this.dispatchEvent(new CustomEvent(type, { detail, bubbles: true, composed: true, cancelable }));
  }
}

/**
 * What is new among the jobs, each with what it was before.
 * @param {readonly Job[]} before
 * @param {readonly Job[]} after
 * @returns {Change[]}
 */
function changesOf(before, after) {
  const fresh = after.filter((job, index) => job !== before[index]);
  const known = new Map(fresh.length > 0 ? before.map((job) => [job.id, job]) : []);
  return fresh.flatMap((job) => (known.get(job.id) === job ? [] : [[job, known.get(job.id) ?? null]]));
}
