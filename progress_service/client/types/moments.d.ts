/**
 * A duration to the second, as a clock shows it, in the digits of the language. `Intl.DurationFormat` is in few
 * browsers yet, and dear to make.
 * @param {number} seconds
 * @param {Language} language
 */
export function clock(seconds: number, { digits }: Language): string;
/** Nothing for what is unknown or 0. @param {number | null} perSecond @param {Language} language */
export function rate(perSecond: number | null, language: Language): string;
export function time(milliseconds: number, { tag }: Language): string;
import type { Language } from "./texts.js";
