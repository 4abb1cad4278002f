/**
 * @typedef {Partial<Job> & {counted?: number, batches?: number, batch?: number, total?: number, failed?:
 * number}} Draft
 */
/**
 * A job's view. `counted` contacts are done or failed, of `batches` times `batch`, unless there is a `total`.
 * @param {Draft} draft
 * @returns {Job}
 */
export function job({ counted, batches, batch, total, failed, ...rest }: Draft): Job;
/**
 * @param {readonly Job[]} jobs
 * @returns {{jobs: readonly Job[], totals: Totals, feed: ProgressState["feed"]}}
 */
export function snapshot(jobs: readonly Job[]): {
    jobs: readonly Job[];
    totals: Totals;
    feed: ProgressState["feed"];
};
/**
 * Recorded streams: each state of a job and of the connection, as the service tells it. The gallery shows
 * them.
 */
/** @import {Job, ProgressState, Totals} from "./types.d.ts" */
/** The moment at which the scenes stand still. */
export const SCENE_NOW: number;
/** @type {Record<string, Frame[]>} */
export const scenes: Record<string, Frame[]>;
export type Draft = Partial<Job> & {
    counted?: number;
    batches?: number;
    batch?: number;
    total?: number;
    failed?: number;
};
export type Frame = readonly [event: string, data: object];
import type { Job } from "./types.d.ts";
import type { Totals } from "./types.d.ts";
import type { ProgressState } from "./types.d.ts";
