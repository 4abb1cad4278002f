/** One job in the card. It touches the document only when its job changed, or a second has passed. */

import { isFinished } from "./store.js";
import { clock, rate } from "./moments.js";
import { TimeLeft } from "./timeleft.js";
import { Bar, Icon, button, labelOf, make, mark, statusLook, write } from "./parts.js";
import { learn, statusName } from "./texts.js";

/** @import {Command, Host} from "./element.js" */
/** @import {Job} from "./types.d.ts" */

/**
 * What opens below a job.
 * @typedef {{element: HTMLElement, render: (job: Job) => void}} Panel
 * @typedef {new (host: Host, job: Job, close: (command?: Command) => void) => Panel} PanelClass
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

const MOVE_MS = 260;

export class Row {
  #icon = new Icon();
  #label = make("span", "label");
  #percentage = make("span", "percentage");
  #bar = new Bar();
  #status = make("span", "status");
  #count = make("span", "count");
  #failed = make("span", "failed-count");
  #rate = make("span", "rate");
  #left = make("span", "left");
  #elapsed = make("span", "elapsed");
  #batches = button("batches", () => this.#open(this.#batches, import("./batches.js")));
  #error = make("p", "error");
  #refusal = make("p", "refusal");
  #toggleIcon = new Icon();
  #toggle = button("toggle", () => this.#act(this.#action), this.#toggleIcon.element);
  #cancel = button(
    "cancel",
    () => this.#open(this.#cancel, import("./confirm.js")),
    new Icon("cancel").element,
  );
  element = make(
    "li",
    "job",
    this.#icon.element,
    this.#label,
    this.#left,
    this.#percentage,
    make("span", "actions", this.#toggle, this.#cancel),
    this.#bar.element,
    make("div", "facts", this.#status, this.#count, this.#failed, this.#batches, this.#rate, this.#elapsed),
    this.#error,
    this.#refusal,
  );

  #host;
  #timeLeft = new TimeLeft();
  /** @type {Job | null} */
  #job = null;
  #isCurrent = true;
  #second = 0;
  /** @type {Command} */
  #action = "pause";
  /** What is open below, by the button that opened it. @type {Map<HTMLElement, Panel>} */
  #panels = new Map();

  /** @param {Host} host */
  constructor(host) {
    this.#host = host;
    this.element.tabIndex = -1;
    this.#label.dir = "auto";
    for (const opener of [this.#batches, this.#cancel]) mark(opener, "aria-expanded", "false");
  }

  /** @param {Job} job @param {boolean} isCurrent @param {number} now */
  render(job, isCurrent, now) {
    const isSame = job === this.#job && isCurrent === this.#isCurrent;
    const second = Math.floor(now / 1_000);
    if (isSame && second === this.#second) return;
    if (!isSame) this.#renderJob(job, isCurrent, now);
    const { language } = this.#host;
    write(this.#left, isCurrent ? this.#timeLeft.text(job, language, now) : "");
    const ended = job.finished_at ? Date.parse(job.finished_at) : isCurrent && now;
    // A job may change a hundred times a second; a clock does not.
    if (!ended || !job.started_at || (second === this.#second && !job.finished_at)) return;
    this.#second = second;
    const time = clock(Math.max(0, ended - Date.parse(job.started_at)) / 1_000, language);
    write(this.#elapsed, language.say(job.finished_at ? "took" : "elapsed", { time }));
  }

  /** @param {Job} job @param {boolean} isCurrent @param {number} now */
  #renderJob(job, isCurrent, now) {
    const { language } = this.#host;
    const look = statusLook(job);
    if (job !== this.#job) this.#timeLeft.hear(job, now);
    if (job.status !== this.#job?.status) write(this.#refusal, "");
    this.#job = job;
    this.#isCurrent = isCurrent;
    mark(this.element, "data-status", look);
    this.#icon.show(look);
    write(this.#label, labelOf(job, language));
    mark(this.#label, "title", job.label);
    write(this.#percentage, job.progress.total > 0 ? language.percentage(job.percentage) : "");
    write(this.#status, language.say(statusName(job)));
    write(this.#count, language.count(job.progress));
    write(
      this.#failed,
      job.progress.failed > 0 ? language.say("failedCount", { n: job.progress.failed }) : "",
    );
    write(this.#rate, job.rate && isCurrent && statusName(job) === "running" ? rate(job.rate, language) : "");
    write(this.#error, job.error ?? "");
    this.#bar.show(job, language, isCurrent);
    this.#renderButtons(job);
    for (const panel of this.#panels.values()) panel.render(job);
  }

  /** @param {Job} job */
  #renderButtons(job) {
    const { language } = this.#host;
    const { requested, status, progress } = job;
    const { batches, current_batch } = progress;
    const hadFocus = this.element.matches(":focus-within");
    const isEnding = isFinished(job) || requested === "cancel";
    // A pause that was asked for can be taken back before the worker has answered.
    this.#action = (requested ?? status).startsWith("pause") ? "resume" : "pause";
    this.#toggleIcon.show(this.#action);
    this.#toggle.hidden = isEnding || (status === "pending" && !requested);
    this.#cancel.hidden = isEnding;
    for (const [element, name] of /** @type {const} */ ([
      [this.#toggle, this.#action],
      [this.#cancel, "cancel"],
    ])) {
      const action = language.say(name);
      mark(element, "title", action);
      mark(element, "aria-label", language.say("actions", { action, label: labelOf(job, language) }));
    }
    const n = Array.isArray(batches) ? batches.length : 0;
    this.#batches.hidden = n === 0;
    write(this.#batches, language.say(isFinished(job) ? "batches" : "batchOf", { done: current_batch, n }));
    if (isEnding) this.#close(this.#cancel);
    // What a person was on may be gone; the job that it belonged to is not.
    if (hadFocus && !this.element.matches(":focus-within")) this.element.focus();
  }

  /** Ask something of the job, and say why if that is refused. @param {Command} command */
  async #act(command) {
    write(this.#refusal, "");
    write(this.#refusal, await this.#host.act(command, /** @type {Job} */ (this.#job)));
  }

  /**
   * Open what belongs to a button, or close it.
   * @param {HTMLElement} opener
   * @param {Promise<{Panel: PanelClass}>} module
   */
  async #open(opener, module) {
    if (this.#close(opener)) return opener.focus();
    const { Panel } = await module;
    const job = this.#job;
    if (!job || this.#panels.has(opener)) return;
    const panel = new Panel(this.#host, job, (command) => {
      this.#close(opener);
      if (command) this.#act(command);
      else opener.focus();
    });
    this.#panels.set(opener, panel);
    mark(opener, "aria-expanded", "true");
    this.element.append(panel.element);
    panel.render(job);
  }

  /** Whether there was something to close. @param {HTMLElement} opener */
  #close(opener) {
    const panel = this.#panels.get(opener);
    mark(opener, "aria-expanded", "false");
    panel?.element.remove();
    return this.#panels.delete(opener);
  }

  /** Come in; gently, if there is time for it. @param {boolean} isGentle */
  arrive(isGentle) {
    if (isGentle) this.#move("normal");
    return this;
  }

  /** Go; gently, if there is time for it. @param {boolean} isGentle */
  leave(isGentle) {
    mark(this.element, "data-leaving", "");
    const move = isGentle ? this.#move("reverse") : null;
    if (!move) return this.element.remove();
    move.onfinish = move.oncancel = () => this.element.remove();
  }

  /** @param {PlaybackDirection} direction */
  #move(direction) {
    if (matchMedia("(prefers-reduced-motion: reduce)").matches) return null;
    const blockSize = `${this.element.getBoundingClientRect().height}px`;
    const shut = { blockSize: "0px", paddingBlock: "0px", opacity: 0, overflow: "clip" };
    const open = { blockSize, opacity: 1, overflow: "clip" };
    return this.element.animate([shut, open], { duration: MOVE_MS, easing: "ease-in-out", direction });
  }
}
