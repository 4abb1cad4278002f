/** One job in the card. It touches the document only when its job changed, or a second has passed. */

import { isFinished } from "./store.js";
import { clock, rate } from "./moments.js";
import { button } from "./buttons.js";
import { timeLeftOf } from "./timeleft.js";
import {
  bar,
  failuresOf,
  icon,
  labelOf,
  make,
  mark,
  percentageOf,
  spans,
  statusLook,
  write,
} from "./parts.js";
import { learn, statusName } from "./texts.js";

/** @import {Host} from "./session.js" */
/** @import {Command, Job} from "./types.d.ts" */

/**
 * What opens below a job.
 * @typedef {{element: HTMLElement, render: (job: Job) => void}} Panel
 * @typedef {new (host: Host, job: Job, close: (command?: Command) => void) => Panel} PanelClass
 *
 * A row, as those see it who do something for it. `refuse` says below the job, and aloud, that a press came to
 * nothing.
 * @typedef {object} Row
 * @property {Host} host
 * @property {HTMLElement} element
 * @property {Map<HTMLElement, Panel>} panels What is open below, by the button that opened it.
 * @property {(action: string, reason: string) => void} refuse
 * @property {() => Job | null} job
 */

learn({
  batchOf: "Batch {done} of {n}",
  batches: { one: "{n} batch", other: "{n} batches" },
  elapsed: "{time} elapsed",
  took: "took {time}",
  pause: "Pause",
  resume: "Resume",
  cancel: "Cancel",
  actions: "{action}: {label}",
  refusal: "{action} was refused: {reason}",
});

/** @param {Host} host */
export function rowOf(host) {
  const { language } = host;
  const { say } = language;
  const picture = icon();
  const togglePicture = icon();
  const progress = bar();
  const [label, percentage, status, count, failures, speed, left, elapsed] = spans(
    ...["label", "percentage", "status", "count", "failed-count", "rate", "left", "elapsed"],
  );
  const batches = button("batches", press);
  const error = make("p", "error");
  const refusal = make("p", "refusal");
  const toggle = button("toggle", press, togglePicture.element);
  const cancel = button("cancel", press, icon("cancel").element);
  const facts = make("div", "facts", status, count, failures, batches, speed, elapsed);
  const actions = make("span", "actions", toggle, cancel);
  const parts = [picture.element, label, left, percentage, actions, progress.element, facts, error, refusal];
  const element = make("li", "job", ...parts);

  const timeLeft = timeLeftOf();
  /** @type {Job | null} */
  let shown = null;
  let wasCurrent = true;
  let shownSecond = 0;
  /** @type {Row} */
  const row = { host, element, panels: new Map(), refuse, job: () => shown };

  element.tabIndex = -1;
  label.dir = "auto";
  for (const opener of [batches, cancel]) mark(opener, { "aria-expanded": "false" });

  /** @param {Job} job @param {boolean} isCurrent @param {number} now */
  function render(job, isCurrent, now) {
    const isSame = job === shown && isCurrent === wasCurrent;
    const second = Math.floor(now / 1_000);
    if (isSame && second === shownSecond) return;
    if (!isSame) renderJob(job, isCurrent, now);
    write(left, isCurrent && timeLeft.text(job, language, now));
    const ended = job.finished_at ? Date.parse(job.finished_at) : isCurrent && now;
    // A job may change a hundred times a second; a clock does not.
    if (!ended || !job.started_at || (second === shownSecond && !job.finished_at)) return;
    shownSecond = second;
    const time = clock(Math.max(0, ended - Date.parse(job.started_at)) / 1_000, language);
    write(elapsed, say(job.finished_at ? "took" : "elapsed", { time }));
  }

  /** @param {Job} job @param {boolean} isCurrent @param {number} now */
  function renderJob(job, isCurrent, now) {
    const look = statusLook(job);
    const name = statusName(job);
    const hadFocus = element.matches(":focus-within");
    if (job !== shown) timeLeft.hear(job, now);
    if (job.status !== shown?.status) write(refusal, "");
    shown = job;
    wasCurrent = isCurrent;
    mark(element, { "data-status": look });
    picture.show(look);
    write(label, labelOf(job, language));
    mark(label, { title: job.label });
    write(percentage, percentageOf(job, language));
    write(status, say(name));
    write(count, language.count(job.progress));
    write(failures, failuresOf(job, language));
    write(speed, isCurrent && name === "running" && rate(job.rate, language));
    write(error, job.error);
    progress.show(job, language, isCurrent);
    for (const panel of row.panels.values()) panel.render(job);
    renderButtons(job);
    // What a person was on may be gone; the job that it belonged to is not.
    if (hadFocus && !element.matches(":focus-within")) element.focus();
  }

  /** @param {Job} job */
  function renderButtons(job) {
    const { requested, status, progress } = job;
    const isEnding = isFinished(job) || requested === "cancel";
    // A pause that was asked for can be taken back before the worker has answered.
    const action = (requested ?? status).startsWith("pause") ? "resume" : "pause";
    togglePicture.show(action);
    toggle.hidden = isEnding || (status === "pending" && !requested);
    cancel.hidden = isEnding;
    name(toggle, action);
    name(cancel, "cancel");
    const n = Array.isArray(progress.batches) ? progress.batches.length : 0;
    batches.hidden = n === 0;
    write(batches, say(isFinished(job) ? "batches" : "batchOf", { done: progress.current_batch, n }));
  }

  /** @param {HTMLButtonElement} opener @param {Command} command */
  function name(opener, command) {
    const title = say(command);
    const words = { action: title, label: label.textContent ?? "" };
    mark(opener, { title, value: command, "aria-label": say("actions", words) });
  }

  /** Do what belongs to a button. What that takes is loaded with the first press. @param {{currentTarget: any}} event */
  async function press({ currentTarget: opener }) {
    write(refusal, "");
    try {
      const { press } = await import("./presses.js");
      press(row, opener);
    } catch {
      // Who is cut off from the service cannot load it either.
      refuse(opener.title || opener.textContent, say("refused"));
    }
  }

  /** @param {string} action @param {string} reason */
  function refuse(action, reason) {
    const text = say("refusal", { action, reason });
    write(refusal, text);
    host.announce(text);
  }

  return {
    element,
    render,
    /** Come in gently. */
    arrive: () => mark(element, { "data-arriving": true }),
    /** Go; gently, if there is time for it. @param {boolean} isGentle */
    async leave(isGentle) {
      mark(element, { "data-leaving": true });
      // Where motion is unwanted there is none to wait for.
      if (isGentle) await Promise.allSettled(element.getAnimations().map(({ finished }) => finished));
      element.remove();
    },
  };
}
