/** One job in the card. It touches the document only when its job changed. */

import { Bar, Icon, make, mark, write } from "./parts.js";
import { statusText } from "./texts.js";

/** @import {Texts} from "./texts.js" */
/** @import {Job} from "./types.d.ts" */

const MOVE_MS = 260;

export class Row {
  #icon = new Icon();
  #label = make("span", "label");
  #percentage = make("span", "percentage");
  #bar = new Bar();
  #status = make("span", "status");
  #count = make("span", "count");
  #failed = make("span", "failed-count");
  #error = make("p", "error");
  element = make(
    "li",
    "job",
    this.#icon.element,
    this.#label,
    this.#percentage,
    this.#bar.element,
    make("div", "facts", this.#status, this.#count, this.#failed),
    this.#error,
  );

  #words;
  /** @type {Job | null} */
  #job = null;
  #isCurrent = true;

  /** @param {Texts} words */
  constructor(words) {
    this.#words = words;
  }

  /** @param {Job} job @param {boolean} isCurrent */
  render(job, isCurrent) {
    if (job === this.#job && isCurrent === this.#isCurrent) return;
    this.#job = job;
    this.#isCurrent = isCurrent;
    const words = this.#words;
    const { total, completed, failed } = job.progress;
    const label = job.label ?? words.unlabelled;
    mark(this.element, "data-status", job.status);
    this.#icon.show(job.status);
    write(this.#label, label);
    mark(this.#label, "title", label);
    write(this.#percentage, total > 0 ? words.percentage(job.percentage) : "");
    write(this.#status, statusText(job, words));
    write(this.#count, `${words.count(completed, total)} ${words.contacts(total)}`);
    write(this.#failed, failed > 0 ? words.failed(failed) : "");
    write(this.#error, job.error ?? "");
    this.#bar.show(job, words, isCurrent);
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
