/**
 * The compact view: one line for a top bar, about the most recent job, and nothing at all when there is none.
 */

import { isCurrent, latestJob } from "./store.js";
import { Bar, CONNECTION_SHAPES, Icon, make, mark, write } from "./parts.js";
import { connectionName, statusText } from "./texts.js";

/** @import {Texts} from "./texts.js" */
/** @import {Job, ProgressState} from "./types.d.ts" */

/** Without a job to show, a connection that is back after this time is not worth a word. */
const PATIENCE_MS = 1_000;

export class Line {
  #icon = new Icon();
  #status = make("span", "status");
  #count = make("span", "count");
  #unit = make("span", "unit");
  #bar = new Bar();
  #percentage = make("span", "percentage");
  element = make(
    "div",
    "line",
    this.#icon.element,
    make("span", "text", this.#status, this.#count, this.#unit),
    this.#bar.element,
    this.#percentage,
  );

  #words;
  #renderAgain;
  #timer = 0;

  /** @param {Texts} words @param {() => void} renderAgain Asks for another `render` soon. */
  constructor(words, renderAgain) {
    this.#words = words;
    this.#renderAgain = renderAgain;
  }

  /** @param {ProgressState} state */
  render(state) {
    clearTimeout(this.#timer);
    const job = latestJob(state.jobs);
    const { element } = this;
    element.hidden = job === null && !this.#isWorthSaying(state);
    if (element.hidden) return;
    const current = isCurrent(state);
    this.#icon.show(current && job ? job.status : CONNECTION_SHAPES[connectionName(state)]);
    write(this.#status, this.#note(state, job));
    mark(element, "data-status", job && job.status);
    mark(element, "data-stale", current ? null : "");
    mark(element, "title", state.connection.problem?.detail || (job && job.label));
    for (const part of [this.#count, this.#unit, this.#bar.element, this.#percentage])
      part.hidden = job === null;
    if (job) this.#renderJob(job, current);
  }

  /** @param {Job} job @param {boolean} current */
  #renderJob(job, current) {
    const { total, completed } = job.progress;
    write(this.#count, this.#words.count(completed, total));
    write(this.#unit, this.#words.contacts(total));
    write(this.#percentage, total > 0 ? this.#words.percentage(job.percentage) : "");
    this.#bar.show(job, this.#words, current);
  }

  /**
   * What there is to say besides the numbers; nothing while all is well.
   * @param {ProgressState} state
   * @param {Job | null} job
   */
  #note(state, job) {
    if (!isCurrent(state)) return this.#words.connection[connectionName(state)];
    const isOrdinary = !job || (job.status === "running" && !job.requested);
    return isOrdinary ? "" : statusText(job, this.#words);
  }

  /** Whether there is something to say without a job: that nobody knows. @param {ProgressState} state */
  #isWorthSaying(state) {
    const { state: name, since } = state.connection;
    if (name === "idle" || isCurrent(state)) return false;
    const left = since + PATIENCE_MS - Date.now();
    if (left > 0) this.#timer = setTimeout(this.#renderAgain, left);
    return left <= 0;
  }
}
