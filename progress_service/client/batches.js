/** A job's batches, side by side: how much of each is done, and what failed in it. */

import { adopt } from "./buttons.js";
import { make, mark, sheet, write } from "./parts.js";
import { learn } from "./texts.js";

/** @import {Host} from "./session.js" */
/** @import {Job} from "./types.d.ts" */
/** @typedef {{batch: number, total: number, completed: number, failed: number}} Batch */

learn({ batch: "Batch {n}: {count}", batchRange: "Batches {n} to {to}: {count}" });

/** More cells than this say nothing to anybody: several batches share one. */
const CELLS_MAX = 240;

export class Panel {
  #list = make("ol", "strip");
  #note = make("p", "strip-note");
  element = make("div", "strip-panel", this.#list, this.#note);
  #language;
  /** @type {readonly unknown[] | null} */
  #shown = null;
  #isNew = true;

  /** @param {Host} host */
  constructor({ language }) {
    this.#language = language;
    mark(this.#list, { role: "list" });
    mark(this.#note, { "aria-hidden": "true" });
    this.#list.addEventListener("pointerover", ({ target }) => this.#tell(target));
    this.#list.addEventListener("pointerleave", () => this.#tell(null));
  }

  /** @param {Job} job */
  render({ progress }) {
    if (this.#isNew) adopt(this.element, styles);
    this.#isNew = false;
    const { batches } = progress;
    if (batches === this.#shown || !Array.isArray(batches)) return;
    this.#shown = batches;
    const size = Math.ceil(batches.length / CELLS_MAX);
    const cells = Array.from({ length: Math.ceil(batches.length / size) }, (_, index) =>
      summed(batches.slice(index * size, (index + 1) * size)),
    );
    while (this.#list.childElementCount > cells.length) this.#list.lastElementChild?.remove();
    cells.forEach((cell, index) => this.#renderCell(index, cell, progress.current_batch));
    if (!this.#list.matches(":hover")) this.#tell(null);
  }

  /** Say what is under the pointer, or else what is being worked on. @param {EventTarget | null} target */
  #tell(target) {
    const cell =
      target instanceof Element ? target.closest("li") : this.#list.querySelector("[data-current]");
    write(this.#note, cell?.textContent ?? "");
  }

  /** @param {number} index @param {ReturnType<typeof summed>} cell @param {number} current */
  #renderCell(index, { first, last, total, completed, failed }, current) {
    const language = this.#language;
    const place = this.#list.children[index] ?? make("li", "cell", make("span", "unseen"));
    if (!place.parentElement) this.#list.append(place);
    const counts = [language.count({ total, completed })];
    if (failed > 0) counts.push(language.say("failedCount", { n: failed }));
    const words = { n: first, to: last, count: counts.join(", ") };
    write(
      /** @type {Element} */ (place.firstElementChild),
      language.say(first === last ? "batch" : "batchRange", words),
    );
    const style = /** @type {HTMLElement} */ (place).style;
    style.setProperty("--_part", String(total > 0 ? Math.min(1, (completed + failed) / total) : 0));
    style.setProperty("--_bad", String(total > 0 ? Math.min(1, failed / total) : 0));
    mark(place, { "data-current": first <= current && current <= last, "data-failed": failed > 0 });
  }
}

/**
 * Several batches as one. What a worker wrote may be anything, so it is taken for a number only where it is
 * one.
 * @param {Batch[]} batches
 */
function summed(batches) {
  /** @param {"total" | "completed" | "failed"} name */
  const sum = (name) => batches.reduce((sum, batch) => sum + (Number(batch?.[name]) || 0), 0);
  const number = (/** @type {Batch | undefined} */ batch) => Number(batch?.batch) || 0;
  return {
    first: number(batches[0]),
    last: number(batches.at(-1)),
    total: sum("total"),
    completed: sum("completed"),
    failed: sum("failed"),
  };
}

const styles = sheet(/* css */ `
.strip {
  display: grid;
  grid-template-columns: repeat(auto-fit, minmax(0.5rem, 1fr));
  gap: 2px;
  margin: 0.125rem 0 0;
  padding: 0;
  list-style: none;
}
.cell {
  position: relative;
  block-size: 1.25rem;
  border-radius: 2px;
  overflow: hidden;
  background:
    linear-gradient(var(--_failed) 0 0) 0 100% / 100% calc(var(--_bad, 0) * 100%) no-repeat,
    linear-gradient(var(--_hue) 0 0) 0 100% / 100% calc(var(--_part, 0) * 100%) no-repeat,
    var(--_track);
}
.cell[data-current] { box-shadow: inset 0 0 0 1px var(--_hue); }
.cell:hover { outline: 1px solid var(--_muted); }
.strip-note { min-block-size: 1.4em; margin: 0.25rem 0 0; color: var(--_muted); }
@media (forced-colors: active) {
  .cell {
    border: 1px solid CanvasText;
    forced-color-adjust: none;
    --_hue: Highlight;
    --_failed: GrayText;
    --_track: Canvas;
  }
}
`);
