/**
 * A duration to the second, as a clock shows it; coarser where the browser knows no durations.
 * @param {number} seconds
 * @param {Language} language
 */
export function clock(seconds: number, language: Language): any;
/** Nothing for what is unknown or 0. @param {number | null} perSecond @param {Language} language */
export function rate(perSecond: number | null, language: Language): string;
export function time(milliseconds: number, { tag }: Language): string;
export type DurationFormat = {
    format(duration: {
        hours: number;
        minutes: number;
        seconds: number;
    }): string;
};
import type { Language } from "./texts.js";
