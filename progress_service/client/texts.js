/**
 * The words and numbers that people read. English is here; German is loaded when a page speaks it; a page
 * gives any other language as a map of the same names, and what it leaves out stays English.
 */

import { known } from "./languages.js";

/** @import {Phrase, Words} from "./languages.js" */
/** @import {Job, ProgressState} from "./types.d.ts" */
/** @typedef {Record<string, number | string>} Values */
/** @typedef {Awaited<ReturnType<typeof languageOf>>} Language */

/** @type {Words} */
export const english = {
  unlabelled: "Untitled job",

  pending: "Pending",
  running: "Running",
  paused: "Paused",
  completed: "Completed",
  failed: "Failed",
  cancelled: "Cancelled",
  stalled: "Stalled",
  pausing: "Pausing…",
  resuming: "Resuming…",
  cancelling: "Cancelling…",

  idle: "Not signed in",
  connecting: "Connecting…",
  live: "Live",
  reconnecting: "Reconnecting…",
  refused: "Disconnected",
  signedOut: "Signed out",
  degraded: "Delayed",
  lost: "No updates",
  stale: "not up to date",

  of: "{done} of {n}",
  contactsOf: { one: "{done} of {n} contact", other: "{done} of {n} contacts" },
  contacts: { one: "{n} contact", other: "{n} contacts" },
  failedCount: "{n} failed",
  more: "+{n} more",
  soon: "a few seconds left",
  left: "about {time} left",
  leftRange: "{time} left",
};

/** What to call what was asked of a job. */
const REQUESTED = { pause: "pausing", resume: "resuming", cancel: "cancelling" };
const UNITS = /** @type {const} */ (["second", "minute", "hour"]);

/** English words of a part that is not on every page. @param {Record<string, Phrase>} words */
export const learn = (words) => void Object.assign(english, words);

/**
 * One language, spoken: words, with numbers and times as they are written in it.
 * @param {string} asked The language that is wanted (BCP 47); English if nobody knows its words.
 */
export async function languageOf(asked) {
  const lower = asked.toLowerCase();
  const [base] = lower.split("-");
  if (base === "de" && !known.has(base)) known.set(base, (await import("./texts-de.js")).german);
  const words = known.get(lower) ?? known.get(base);
  const tag = words ? asked : "en";
  /** @type {Intl.NumberFormat[]} */
  const units = [];
  const number = new Intl.NumberFormat(tag);
  const padded = new Intl.NumberFormat(tag, { minimumIntegerDigits: 2 });
  const percent = new Intl.NumberFormat(tag, { style: "percent" });
  const plural = new Intl.PluralRules(tag);

  /**
   * A phrase, with its `{…}` filled in.
   * @param {string} name @param {Values} [values]
   * @returns {string}
   */
  function say(name, values = {}) {
    const phrase = words?.[name] ?? english[name] ?? name;
    const text = typeof phrase === "string" ? phrase : (phrase[plural.select(Number(values.n))] ?? phrase.other);
    return (text ?? name).replace(/{(\w+)}/g, (_, key) => {
      const value = values[key] ?? "";
      return typeof value === "number" ? number.format(value) : value;
    });
  }

  /** Numbers of seconds, minutes or hours. @param {number} size 0, 1 or 2. */
  const unit = (size) =>
    (units[size] ??= new Intl.NumberFormat(tag, {
      style: "unit",
      unit: UNITS[size],
      unitDisplay: "short",
      maximumFractionDigits: size && size - 1,
    }));

  return {
    tag,
    say,
    /** A number as a clock shows it. @param {number} n @param {number} [least] How many digits. */
    digits: (n, least) => (least ? padded : number).format(n),
    /** @param {number} percentage */
    percentage: (percentage) => percent.format(percentage / 100),
    /** How many are done, of how many if that is known. @param {{total: number, completed: number}} progress */
    count: ({ total, completed }) =>
      total > 0 ? say("contactsOf", { done: completed, n: total }) : say("contacts", { n: completed }),
    /** The time left, between *low* and *high* seconds. @param {number} low @param {number} high */
    left(low, high) {
      if (high < 10) return say("soon");
      const size = high < 60 ? 0 : high < 3600 ? 1 : 2;
      const step = size === 2 ? 0.5 : 1;
      const [from, to] = [low, high].map((seconds) =>
        Math.max(step, Math.round(seconds / 60 ** size / step) * step),
      );
      return from === to
        ? say("left", { time: unit(size).format(to) })
        : say("leftRange", { time: unit(size).formatRange?.(from, to) ?? unit(size).format(to) });
    },
  };
}

/**
 * The name of the job's status, for people: what was asked of it counts before what it still is.
 * @param {Job} job
 */
export const statusName = ({ requested, status, stalled }) =>
  (requested && REQUESTED[requested]) || (stalled && status === "running" ? "stalled" : status);

/**
 * Which word for the connection says how far the figures can be trusted.
 * @param {ProgressState} state
 */
export function connectionName({ connection, feed }) {
  if (connection.problem?.status === 401) return "signedOut";
  return connection.state === "live" ? feed : connection.state;
}
