/**
 * The small parts that both views are made of: elements, icons and the bar. All text is set as text, never as
 * HTML.
 */

import { isFinished } from "./store.js";

/** @import {Texts} from "./texts.js" */
/** @import {Job} from "./types.d.ts" */

const SVG = "http://www.w3.org/2000/svg";
const CIRCLE = "M8 1.75a6.25 6.25 0 1 1 0 12.5 6.25 6.25 0 0 1 0-12.5";

/**
 * What each icon shows, in a box of 16 by 16. A shape of its own for each, since colour alone says nothing to
 * many.
 */
const SHAPES = {
  pending: `${CIRCLE}M8 4.75V8l2.25 1.5`,
  running: "M8 1a7 7 0 0 1 7 7",
  paused: `${CIRCLE}M6.5 5.75v4.5M9.5 5.75v4.5`,
  completed: `${CIRCLE}M5.25 8.25l2 2 3.5-4`,
  failed: `${CIRCLE}M8 4.75v3.75M8 11v.25`,
  cancelled: `${CIRCLE}M5.75 5.75l4.5 4.5M10.25 5.75l-4.5 4.5`,
  live: "M8 6a2 2 0 1 1 0 4 2 2 0 0 1 0-4z",
  cut: "M1.75 8a6.25 6.25 0 0 1 10.7-4.4M14.25 8a6.25 6.25 0 0 1-10.7 4.4M12.75 1v2.9h-2.9M3.25 15v-2.9h2.9",
};

/** @typedef {keyof typeof SHAPES} Shape */

/** The shape that goes with each word for a connection. @type {Record<keyof Texts["connection"], Shape>} */
export const CONNECTION_SHAPES = {
  idle: "cancelled",
  connecting: "running",
  live: "live",
  reconnecting: "cut",
  refused: "failed",
  signedOut: "cancelled",
  degraded: "pending",
  lost: "cut",
};

/**
 * A new element. Its parts are what a page may style by `::part`; the first is its class as well.
 * @param {string} tag
 * @param {string} part
 * @param {...(Node | string)} children
 */
export function make(tag, part, ...children) {
  const element = document.createElement(tag);
  element.className = part.split(" ")[0];
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

/** A picture beside a text that says the same, so it is silent. */
export class Icon {
  element = document.createElementNS(SVG, "svg");
  #path = document.createElementNS(SVG, "path");

  constructor() {
    mark(this.element, "class", "icon");
    mark(this.element, "part", "icon");
    mark(this.element, "viewBox", "0 0 16 16");
    mark(this.element, "aria-hidden", "true");
    this.element.append(this.#path);
  }

  /** @param {string} shape */
  show(shape) {
    mark(this.element, "data-shape", shape);
    mark(this.#path, "d", SHAPES[/** @type {Shape} */ (shape)] ?? CIRCLE);
  }
}

/** The bar itself: what is done, and behind it what failed. */
export class Bar {
  #done = make("div", "done");
  #failed = make("div", "failed");
  element = make("div", "bar", this.#failed, this.#done);

  constructor() {
    mark(this.element, "role", "progressbar");
    mark(this.element, "aria-valuemin", "0");
    mark(this.element, "aria-valuemax", "100");
  }

  /** @param {Job} job @param {Texts} words @param {boolean} isCurrent */
  show(job, words, isCurrent) {
    const { total, completed, failed } = job.progress;
    // What finished without ever knowing its total is all there was.
    const isUnknown = total === 0 && !isFinished(job);
    this.#done.style.setProperty("--_share", share(completed, total, job.status === "completed"));
    this.#failed.style.setProperty("--_share", share(completed + failed, total, false));
    mark(this.element, "data-indeterminate", isUnknown ? "" : null);
    mark(this.element, "aria-label", job.label ?? words.unlabelled);
    mark(this.element, "aria-valuenow", isUnknown ? null : String(job.percentage));
    mark(this.element, "aria-valuetext", words.spoken(job, isCurrent));
  }
}

/** @param {number} count @param {number} total @param {boolean} isWhole What to make of a total of 0. */
const share = (count, total, isWhole) => String(total > 0 ? Math.min(1, count / total) : Number(isWhole));
