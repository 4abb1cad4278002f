/**
 * The compact view: one line for a top bar, about the most recent job, and nothing at all when there is none.
 */

import { isCurrent, latestJob } from "./store.js";
import { timeLeftOf } from "./timeleft.js";
import { bar, icon, make, mark, percentageOf, sheet, spans, statusLook, styles, write } from "./parts.js";
import { connectionName, statusName } from "./texts.js";

/** @import {Host} from "./session.js" */
/** @import {Job, ProgressState} from "./types.d.ts" */

/** Without a job to show, a connection that is back after this time is not worth a word. */
const PATIENCE_MS = 1_000;

/** @param {Host} host */
export function view({ language, renderSoon }) {
  const { say } = language;
  const picture = icon();
  const progress = bar();
  const spanned = spans("status", "count", "short", "percentage", "left", "more");
  const [status, count, short, percentage, left, more] = spanned;
  const text = make("span", "text", status, count, short);
  const element = make("div", "line", picture.element, text, progress.element, percentage, left, more);
  let timer = 0;
  let timeLeft = timeLeftOf();
  /** @type {Job | null} */
  let shown = null;

  /** Whether there is something to say without a job: that nobody knows. @param {ProgressState} state */
  function isWorthSaying(state) {
    const { state: name, since } = state.connection;
    if (name === "idle" || isCurrent(state)) return false;
    const wait = since + PATIENCE_MS - Date.now();
    if (wait > 0) timer = setTimeout(renderSoon, wait);
    return wait <= 0;
  }

  /** @param {ProgressState} state @param {number} now */
  function render(state, now) {
    clearTimeout(timer);
    const job = latestJob(state.jobs);
    element.hidden = !job && !isWorthSaying(state);
    if (element.hidden) return;
    const current = isCurrent(state);
    const look = job && statusLook(job);
    // What there is to say besides the numbers; nothing while all is well.
    const name = current && job ? statusName(job) : connectionName(state);
    const title = state.connection.problem?.detail || job?.label;
    picture.show(current && look ? look : connectionName(state));
    write(status, name !== "running" && say(name));
    mark(element, { "data-status": look, "data-stale": !current, title });
    progress.element.hidden = !job;
    if (job?.id !== shown?.id) timeLeft = timeLeftOf();
    if (job && job !== shown) timeLeft.hear(job, now);
    shown = job;
    if (!job) return spanned.slice(1).forEach((each) => write(each, ""));
    const { total, completed } = job.progress;
    const others = (state.totals?.active ?? 0) - 1;
    write(count, language.count(job.progress));
    write(short, say(total > 0 ? "of" : "{done}", { done: completed, n: total }));
    write(percentage, percentageOf(job, language));
    write(left, current && timeLeft.text(job, language, now));
    write(more, others > 0 && say("more", { n: others }));
    progress.show(job, language, current);
  }

  return { element, render };
}

// Without a ground of its own, the line takes the colour of the text around it.
export const sheets = [
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
