/** The language of a page's tag, once its words are there. @param {string} tag */
export function languageOf(tag: string): Promise<Language>;
/**
 * Which word for the connection says how far the figures can be trusted.
 * @param {ProgressState} state
 */
export function connectionName({ connection, feed }: ProgressState): "connecting" | "idle" | "reconnecting" | "refused" | import("./types.d.ts").Feed | "signedOut";
/** @import {Phrase, Words} from "./languages.js" */
/** @import {Job, ProgressState} from "./types.d.ts" */
/** @typedef {Record<string, number | string>} Values */
/** @type {Words} */
export const english: Words;
export function learn(words: Record<string, Phrase>): undefined;
/** One language, spoken: words, with numbers and times as they are written in it. */
export class Language {
    /** @param {string} asked The language that is wanted; English if nobody knows its words. */
    constructor(asked: string);
    /** @type {string} */
    tag: string;
    /**
     * A phrase, with its `{…}` filled in.
     * @param {string} name @param {Values} [values]
     * @returns {string}
     */
    say(name: string, values?: Values): string;
    /** @param {number} percentage */
    percentage(percentage: number): string;
    /** How many are done, of how many if that is known. @param {{total: number, completed: number}} progress */
    count({ total, completed }: {
        total: number;
        completed: number;
    }): string;
    /** The time left, between *low* and *high* seconds. @param {number} low @param {number} high */
    left(low: number, high: number): string;
    /** Numbers of seconds, minutes or hours. @param {number} size 0, 1 or 2. */
    unit(size: number): Intl.NumberFormat;
    #private;
}
export function statusName({ requested, status, stalled }: Job): string;
export type Values = Record<string, number | string>;
import type { ProgressState } from "./types.d.ts";
import type { Words } from "./languages.js";
import type { Phrase } from "./languages.js";
import type { Job } from "./types.d.ts";
