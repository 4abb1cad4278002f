/**
 * The small parts that both views are made of: elements, icons and the bar. All text is set as text,
 * never as HTML.
 */

import { isFinished } from "./store.js";

export { sheet, styles } from "./styles.js";

/** @import {Language} from "./texts.js" */
/** @import {Job} from "./types.d.ts" */

const SVG = "http://www.w3.org/2000/svg";
const CIRCLE = "M8 2a6 6 0 1 1 0 12A6 6 0 0 1 8 2";

/**
 * What each icon shows, in a box of 16 by 16. A shape of its own for each, since colour alone says nothing to
 * many.
 * @type {Record<string, string>}
 */
export const SHAPES = {
  pending: `${CIRCLE}M8 5v3l2 1`,
  running: "M8 1a7 7 0 0 1 7 7",
  paused: `${CIRCLE}M6.5 6v4M9.5 6v4`,
  completed: `${CIRCLE}M5.5 8l2 2 3-4`,
  failed: `${CIRCLE}M8 5v3M8 11v0`,
  cancelled: `${CIRCLE}M6 6l4 4M10 6l-4 4`,
  stalled: "M8 2l6 11H2zM8 6v3M8 11v0",
  cut: "M2 8a6 6 0 0 1 10-4M14 8a6 6 0 0 1-10 4M12 1v3H9M4 15v-3h3",
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
  mark(element, { class: part, part });
  element.append(...children);
  return element;
}

/** Pieces of text, by their parts. @param {...string} parts */
export const spans = (...parts) => parts.map((part) => make("span", part));

/**
 * Set a text, and leave the document alone when it is there already.
 * @param {Element} element
 * @param {string | false | null | undefined} text
 */
export function write(element, text) {
  if (element.textContent !== (text || "")) element.textContent = text || "";
}

/**
 * Set attributes where they are not so already: to "" by true, and away by null, false or "".
 * @param {Element} element
 * @param {Record<string, string | boolean | null | undefined>} attributes
 */
export function mark(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    const text = value === true ? "" : value || null;
    if (text === null) element.removeAttribute(name);
    else if (element.getAttribute(name) !== text) element.setAttribute(name, text);
  }
}

/**
 * A picture beside a text that says the same, so it is silent.
 * @param {string} [name]
 */
export function icon(name) {
  const path = document.createElementNS(SVG, "path");
  const element = document.createElementNS(SVG, "svg");
  mark(element, { class: "icon", part: "icon", viewBox: "0 0 16 16", "aria-hidden": "true" });
  element.append(path);
  /** @param {string} name Of a status, an action or a state of the connection. */
  const show = (name) => {
    const shape = BORROWED[name] ?? name;
    mark(element, { "data-shape": shape });
    mark(path, { d: SHAPES[shape] ?? CIRCLE });
  };
  if (name) show(name);
  return { element, show };
}

/** The bar itself: what is done, and behind it what failed. */
export function bar() {
  const done = make("div", "done");
  const failures = make("div", "failed");
  const element = make("div", "bar", failures, done);
  return {
    element,
    /** @param {Job} job @param {Language} language @param {boolean} isCurrent */
    show(job, language, isCurrent) {
      const { total, completed, failed } = job.progress;
      // What finished without ever knowing its total is all there was.
      const isUnknown = total === 0 && !isFinished(job);
      const whole = total || Number(job.status === "completed" && completed);
      done.style.setProperty("--_share", share(completed, whole));
      failures.style.setProperty("--_share", share(completed + failed, whole));
      mark(element, {
        role: "progressbar",
        "aria-valuemax": "100",
        "aria-label": labelOf(job, language),
        "aria-valuenow": isUnknown ? null : String(job.percentage),
        "aria-valuetext": spoken(job, language, isCurrent),
        "data-failed": failed > 0,
        "data-indeterminate": isUnknown,
      });
    },
  };
}

/** @param {number} count @param {number} total */
const share = (count, total) => String(total > 0 ? Math.min(1, count / total) : 0);

/** How the job's status looks: a job that runs but does not move is a look of its own. @param {Job} job */
export const statusLook = ({ status, stalled }) => (stalled && status === "running" ? "stalled" : status);

/** @param {Job} job @param {Language} language */
export const labelOf = ({ label }, language) => label ?? language.say("unlabelled");

/** What failed, in words, if anything. @param {Job} job @param {Language} language */
export const failuresOf = ({ progress: { failed } }, language) =>
  failed > 0 ? language.say("failedCount", { n: failed }) : "";

/** The percentage, where it can be known. @param {Job} job @param {Language} language */
export const percentageOf = ({ progress, percentage }, language) =>
  progress.total > 0 ? language.percentage(percentage) : "";

/**
 * All that the bar shows, for those who hear it.
 * @param {Job} job
 * @param {Language} language
 * @param {boolean} isCurrent
 */
const spoken = (job, language, isCurrent) =>
  [
    percentageOf(job, language),
    language.count(job.progress),
    failuresOf(job, language),
    isCurrent ? "" : language.say("stale"),
  ]
    .filter(Boolean)
    .join(", ");
