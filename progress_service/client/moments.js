/** Durations, moments and rates, as the card writes them. */

import { learn } from "./texts.js";

/** @import {Language} from "./texts.js" */

learn({ perSecond: "{n}/s", perMinute: "{n}/min" });

/**
 * A duration to the second, as a clock shows it, in the digits of the language. `Intl.DurationFormat` is in few
 * browsers yet, and dear to make.
 * @param {number} seconds
 * @param {Language} language
 */
export function clock(seconds, { digits }) {
  const [hours, ...rest] = [seconds / 3_600, (seconds / 60) % 60, seconds % 60].map(Math.floor);
  return [...(hours > 0 ? [digits(hours)] : []), ...rest.map((part) => digits(part, 2))].join(":");
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
