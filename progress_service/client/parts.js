/**
 * The small parts that both views are made of: elements, icons, buttons and the bar. All text is set as text,
 * never as HTML.
 */

import { isFinished } from "./store.js";

export { sheet, styles } from "./styles.js";

/** @import {Language} from "./texts.js" */
/** @import {Job} from "./types.d.ts" */

const SVG = "http://www.w3.org/2000/svg";
const CIRCLE = "M8 1.75a6.25 6.25 0 1 1 0 12.5 6.25 6.25 0 0 1 0-12.5";

/**
 * What each icon shows, in a box of 16 by 16. A shape of its own for each, since colour alone says nothing to
 * many.
 * @type {Record<string, string>}
 */
const SHAPES = {
  pending: `${CIRCLE}M8 4.75V8l2.25 1.5`,
  running: "M8 1a7 7 0 0 1 7 7",
  paused: `${CIRCLE}M6.5 5.75v4.5M9.5 5.75v4.5`,
  completed: `${CIRCLE}M5.25 8.25l2 2 3.5-4`,
  failed: `${CIRCLE}M8 4.75v3.75M8 11v.25`,
  cancelled: `${CIRCLE}M5.75 5.75l4.5 4.5M10.25 5.75l-4.5 4.5`,
  stalled: "M8 2 14.5 13.5h-13zM8 6.5v3M8 11.5v.25",
  live: "M8 6a2 2 0 1 1 0 4 2 2 0 0 1 0-4z",
  cut: "M1.75 8a6.25 6.25 0 0 1 10.7-4.4M14.25 8a6.25 6.25 0 0 1-10.7 4.4M12.75 1v2.9h-2.9M3.25 15v-2.9h2.9",
  pause: "M5.5 3.5v9M10.5 3.5v9",
  resume: "M5 3l8 5-8 5z",
  cancel: "M4 4l8 8M12 4l-8 8",
};

/** The shapes that a state of the connection borrows. @type {Record<string, string>} */
const BORROWED = {
  idle: "cancelled",
  connecting: "running",
  reconnecting: "cut",
  refused: "failed",
  signedOut: "cancelled",
  degraded: "pending",
  lost: "cut",
};

/**
 * A new element. Its parts are what a page may style by `::part`; here they are its classes.
 * @param {string} tag
 * @param {string} part
 * @param {...(Node | string)} children
 */
export function make(tag, part, ...children) {
  const element = document.createElement(tag);
  element.className = part;
  element.setAttribute("part", part);
  element.append(...children);
  return element;
}

/**
 * Set a text, and leave the document alone when it is there already.
 * @param {Element} element
 * @param {string} text
 */
export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/**
 * Set an attribute, or remove it by null, if it is not so already.
 * @param {Element} element
 * @param {string} name
 * @param {string | null} value
 */
export function mark(element, name, value) {
  if (element.getAttribute(name) === value) return;
  if (value === null) element.removeAttribute(name);
  else element.setAttribute(name, value);
}

/**
 * A stylesheet for what is in the same shadow root as *element*.
 * @param {Element} element
 * @param {CSSStyleSheet} sheet
 */
export function adopt(element, sheet) {
  const { adoptedStyleSheets } = /** @type {ShadowRoot} */ (element.getRootNode());
  if (!adoptedStyleSheets.includes(sheet)) adoptedStyleSheets.push(sheet);
}

/** A picture beside a text that says the same, so it is silent. */
export class Icon {
  element = document.createElementNS(SVG, "svg");
  #path = document.createElementNS(SVG, "path");

  /** @param {string} [name] */
  constructor(name) {
    mark(this.element, "class", "icon");
    mark(this.element, "part", "icon");
    mark(this.element, "viewBox", "0 0 16 16");
    mark(this.element, "aria-hidden", "true");
    this.element.append(this.#path);
    if (name) this.show(name);
  }

  /** @param {string} name Of a status, an action or a state of the connection. */
  show(name) {
    const shape = BORROWED[name] ?? name;
    mark(this.element, "data-shape", shape);
    mark(this.#path, "d", SHAPES[shape] ?? CIRCLE);
  }
}

/**
 * A button: its parts are those given, and `button`.
 * @param {string} part
 * @param {() => void} act
 * @param {...(Node | string)} children
 */
export function button(part, act, ...children) {
  const element = /** @type {HTMLButtonElement} */ (make("button", `${part} button`, ...children));
  element.type = "button";
  element.onclick = act;
  return element;
}

/** The bar itself: what is done, and behind it what failed. */
export class Bar {
  #done = make("div", "done");
  #failed = make("div", "failed");
  element = make("div", "bar", this.#failed, this.#done);

  constructor() {
    mark(this.element, "role", "progressbar");
    mark(this.element, "aria-valuemax", "100");
  }

  /** @param {Job} job @param {Language} language @param {boolean} isCurrent */
  show(job, language, isCurrent) {
    const { total, completed, failed } = job.progress;
    // What finished without ever knowing its total is all there was.
    const isUnknown = total === 0 && !isFinished(job);
    const whole = total || Number(job.status === "completed" && completed);
    this.#done.style.setProperty("--_share", share(completed, whole));
    this.#failed.style.setProperty("--_share", share(completed + failed, whole));
    mark(this.element, "data-failed", failed > 0 ? "" : null);
    mark(this.element, "data-indeterminate", isUnknown ? "" : null);
    mark(this.element, "aria-label", labelOf(job, language));
    mark(this.element, "aria-valuenow", isUnknown ? null : String(job.percentage));
    mark(this.element, "aria-valuetext", spoken(job, language, isCurrent));
  }
}

/** @param {number} count @param {number} total */
const share = (count, total) => String(total > 0 ? Math.min(1, count / total) : 0);

/** How the job's status looks: a job that runs but does not move is a look of its own. @param {Job} job */
export const statusLook = ({ status, stalled }) => (stalled && status === "running" ? "stalled" : status);

/** @param {Job} job @param {Language} language */
export const labelOf = ({ label }, language) => label ?? language.say("unlabelled");

/**
 * All that the bar shows, for those who hear it.
 * @param {Job} job
 * @param {Language} language
 * @param {boolean} isCurrent
 */
const spoken = ({ progress, percentage }, language, isCurrent) =>
  [
    progress.total > 0 && language.percentage(percentage),
    language.count(progress),
    progress.failed > 0 && language.say("failedCount", { n: progress.failed }),
    !isCurrent && language.say("stale"),
  ]
    .filter(Boolean)
    .join(", ");
