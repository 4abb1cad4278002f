/**
 * The compact view: one line for a top bar, about the most recent job, and nothing at all when there is none.
 */

import { isCurrent, latestJob } from "./store.js";
import { TimeLeft } from "./timeleft.js";
import { Bar, Icon, make, mark, sheet, statusLook, styles, write } from "./parts.js";
import { connectionName, statusName } from "./texts.js";

/** @import {Host} from "./element.js" */
/** @import {Job, ProgressState} from "./types.d.ts" */

/** Without a job to show, a connection that is back after this time is not worth a word. */
const PATIENCE_MS = 1_000;

export class View {
  #icon = new Icon();
  #status = make("span", "status");
  #count = make("span", "count");
  #short = make("span", "short");
  #bar = new Bar();
  #percentage = make("span", "percentage");
  #left = make("span", "left");
  #more = make("span", "more");
  element = make(
    "div",
    "line",
    this.#icon.element,
    make("span", "text", this.#status, this.#count, this.#short),
    this.#bar.element,
    this.#percentage,
    this.#left,
    this.#more,
  );

  #host;
  #timer = 0;
  #timeLeft = new TimeLeft();
  /** @type {Job | null} */
  #job = null;

  /** @param {Host} host */
  constructor(host) {
    this.#host = host;
  }

  /** @param {ProgressState} state @param {number} now */
  render(state, now) {
    clearTimeout(this.#timer);
    const job = latestJob(state.jobs);
    const { element } = this;
    element.hidden = job === null && !this.#isWorthSaying(state);
    if (element.hidden) return;
    const current = isCurrent(state);
    const look = job && statusLook(job);
    this.#icon.show(current && look ? look : connectionName(state));
    write(this.#status, this.#note(state, job));
    mark(element, "data-status", look);
    mark(element, "data-stale", current ? null : "");
    mark(element, "title", state.connection.problem?.detail || (job && job.label));
    this.#bar.element.hidden = job === null;
    this.#renderJob(job, current, now);
    const more = (state.totals?.active ?? 0) - 1;
    write(this.#more, job && more > 0 ? this.#host.language.say("more", { n: more }) : "");
  }

  /** @param {Job | null} job @param {boolean} current @param {number} now */
  #renderJob(job, current, now) {
    const { language } = this.#host;
    if (job?.id !== this.#job?.id) this.#timeLeft = new TimeLeft();
    if (job && job !== this.#job) this.#timeLeft.hear(job, now);
    this.#job = job;
    const { total, completed } = job?.progress ?? { total: 0, completed: 0 };
    write(this.#count, job ? language.count(job.progress) : "");
    write(
      this.#short,
      total > 0
        ? language.say("of", { done: completed, n: total })
        : job
          ? language.say("{completed}", { completed })
          : "",
    );
    write(this.#percentage, job && total > 0 ? language.percentage(job.percentage) : "");
    write(this.#left, job && current ? this.#timeLeft.text(job, language, now) : "");
    if (job) this.#bar.show(job, language, current);
  }

  /**
   * What there is to say besides the numbers; nothing while all is well.
   * @param {ProgressState} state
   * @param {Job | null} job
   */
  #note(state, job) {
    const name = isCurrent(state) ? job && statusName(job) : connectionName(state);
    return name && name !== "running" ? this.#host.language.say(name) : "";
  }

  /** Whether there is something to say without a job: that nobody knows. @param {ProgressState} state */
  #isWorthSaying(state) {
    const { state: name, since } = state.connection;
    if (name === "idle" || isCurrent(state)) return false;
    const left = since + PATIENCE_MS - Date.now();
    if (left > 0) this.#timer = setTimeout(this.#host.renderSoon, left);
    return left <= 0;
  }

  // Without a ground of its own, the line takes the colour of the text around it.
  static styles = [
    styles,
    sheet(/* css */ `
:host {
  --_muted: var(--progress-muted, color-mix(in srgb, currentColor 75%, transparent));
  --_track: var(--progress-track, color-mix(in srgb, currentColor 16%, transparent));
  display: inline-block;
  max-inline-size: 100%;
  color: var(--progress-ink, inherit);
  vertical-align: middle;
}
:host([reserve]) .line[hidden] { display: flex !important; visibility: hidden; }
.line {
  container-type: inline-size;
  contain-intrinsic-inline-size: var(--progress-line-size, 30rem);
  display: flex;
  flex-wrap: wrap;
  align-items: center;
  gap: 1rem 0.625rem;
  /* What does not fit goes to a second row that nobody sees. */
  block-size: 1.375rem;
  overflow: hidden;
  align-content: start;
  line-height: 1.375rem;
  white-space: nowrap;
}
.line .icon { color: var(--_text, var(--_muted)); }
.line > span:empty, .status:empty, .short { display: none; }
.text { display: flex; flex: none; gap: 0.5em; max-inline-size: calc(100% - 7.5rem); }
.text > * { overflow: hidden; text-overflow: ellipsis; }
.status { flex: none; max-inline-size: 100%; color: var(--_text, var(--_muted)); font-weight: 500; }
.line .bar { flex: 1 1 2rem; }
.line:not([data-status]) .text { max-inline-size: calc(100% - 1.625rem); }
.percentage { min-inline-size: 3.5ch; text-align: end; font-weight: 500; }
.left, .more { color: var(--_muted); }
.left { min-inline-size: 17ch; }
@container (inline-size < 26rem) {
  .count, .status:not(:empty) ~ .short { display: none; }
  .short { display: inline; }
}
@container (inline-size < 11rem) { .line[data-status] .text { display: none; } }
`),
  ];
}
