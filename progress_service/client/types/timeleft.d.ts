/** A time left: told now and then, and counted down in between, in coarse steps. */
export function countdown(): {
    /** Take in a new estimate. @param {number} seconds @param {number} now Milliseconds. */
    hear(seconds: number, now: number): void;
    /**
     * The seconds left, in steps that grow with them. A step is left only when the time is well past it.
     * @param {number} now Milliseconds.
     */
    left(now: number): number;
};
/** The time left of one job, as a range where the service is unsure. */
export function timeLeftOf(): {
    /** @param {Job} job @param {number} now */
    hear({ eta_seconds, eta_range }: Job, now: number): void;
    /**
     * What to tell people; nothing while nobody can know.
     * @param {Job} job
     * @param {Language} language
     * @param {number} now
     */
    text({ status, requested, stalled, eta_seconds }: Job, language: Language, now: number): string;
};
import type { Job } from "./types.d.ts";
import type { Language } from "./texts.js";
