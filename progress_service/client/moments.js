/** Durations, moments and rates, as the card writes them. */

import { learn } from "./texts.js";

/** @import {Language} from "./texts.js" */

learn({ perSecond: "{n}/s", perMinute: "{n}/min" });

/** @typedef {{format(duration: {hours: number, minutes: number, seconds: number}): string}} DurationFormat */
/** @type {Map<string, DurationFormat>} By language; one is dear to make. */
const digital = new Map();

/**
 * A duration to the second, as a clock shows it; coarser where the browser knows no durations.
 * @param {number} seconds
 * @param {Language} language
 */
export function clock(seconds, language) {
  const { DurationFormat } = /** @type {any} */ (Intl);
  if (!DurationFormat) {
    const size = seconds < 60 ? 0 : seconds < 3_600 ? 1 : 2;
    return language.unit(size).format(seconds / 60 ** size);
  }
  const { tag } = language;
  const format = digital.get(tag) ?? new DurationFormat(tag, { style: "digital", hoursDisplay: "auto" });
  digital.set(tag, format);
  const [hours, minutes] = [seconds / 3_600, (seconds / 60) % 60].map(Math.floor);
  return format.format({ hours, minutes, seconds: Math.floor(seconds % 60) });
}

/** @param {number} milliseconds As `Date.now()` has them. @param {Language} language */
export const time = (milliseconds, { tag }) =>
  new Intl.DateTimeFormat(tag, { timeStyle: "medium" }).format(milliseconds);

/** Nothing for what is unknown or 0. @param {number | null} perSecond @param {Language} language */
export function rate(perSecond, language) {
  if (!perSecond) return "";
  const isSlow = perSecond < 1;
  const n = Number((isSlow ? perSecond * 60 : perSecond).toPrecision(2));
  return language.say(isSlow ? "perMinute" : "perSecond", { n });
}
