/**
 * One language, spoken: words, with numbers and times as they are written in it.
 * @param {string} asked The language that is wanted (BCP 47); English if nobody knows its words.
 */
export function languageOf(asked: string): Promise<{
    tag: string;
    say: (name: string, values?: Values) => string;
    /** A number as a clock shows it. @param {number} n @param {number} [least] How many digits. */
    digits: (n: number, least?: number) => string;
    /** @param {number} percentage */
    percentage: (percentage: number) => string;
    /** How many are done, of how many if that is known. @param {{total: number, completed: number}} progress */
    count: ({ total, completed }: {
        total: number;
        completed: number;
    }) => string;
    /** The time left, between *low* and *high* seconds. @param {number} low @param {number} high */
    left(low: number, high: number): string;
}>;
/**
 * Which word for the connection says how far the figures can be trusted.
 * @param {ProgressState} state
 */
export function connectionName({ connection, feed }: ProgressState): "connecting" | "idle" | "reconnecting" | "refused" | import("./types.d.ts").Feed | "signedOut";
/** @import {Phrase, Words} from "./languages.js" */
/** @import {Job, ProgressState} from "./types.d.ts" */
/** @typedef {Record<string, number | string>} Values */
/** @typedef {Awaited<ReturnType<typeof languageOf>>} Language */
/** @type {Words} */
export const english: Words;
export function learn(words: Record<string, Phrase>): undefined;
export function statusName({ requested, status, stalled }: Job): string;
export type Values = Record<string, number | string>;
export type Language = Awaited<ReturnType<typeof languageOf>>;
import type { ProgressState } from "./types.d.ts";
import type { Words } from "./languages.js";
import type { Phrase } from "./languages.js";
import type { Job } from "./types.d.ts";
