/**
 * The state after one event. An event that is unknown or no news gives the same state.
 * @param {ProgressState} state
 * @param {string} event
 * @param {any} data
 * @returns {ProgressState}
 */
export function reduce(state: ProgressState, event: string, data: any): ProgressState;
/**
 * State from frames: what a page knows about one user's jobs. No DOM, no network, no clock.
 *
 * Frames are states and not deltas, so any of them may be missing when a newer one follows. A state is never
 * changed: what did not change is the same object as before, down to a single job.
 */
/** @import {Command, ConnectionState, Job, ProgressState} from "./types.d.ts" */
/** @type {ProgressState} */
export const NOTHING_KNOWN: ProgressState;
export function isFinished(job: Job): boolean;
export function latestJob(jobs: readonly Job[]): Job;
export function isCurrent(state: ProgressState): boolean;
/** A state that changes by events, and those who want to hear of it. Its methods may be passed on unbound. */
export class Store {
    /** What the service said. */
    known: ProgressState;
    /** The state: the same object until something changes. */
    getSnapshot: () => ProgressState;
    /**
     * Call *listener* after each change, until the function that this returns is called.
     * @param {() => void} listener
     */
    subscribe: (listener: () => void) => () => undefined;
    /** Take in one event. @param {string} event @param {any} data */
    apply: (event: string, data: any) => void;
    /**
     * Show at once that *command* is asked for, until the function that this returns is called: with the job as
     * it then is, if that is known.
     * @param {string} id
     * @param {Command} command
     * @returns {(job?: Job) => void}
     */
    ask(id: string, command: Command): (job?: Job) => void;
    #private;
}
import type { ProgressState } from "./types.d.ts";
import type { Job } from "./types.d.ts";
import type { Command } from "./types.d.ts";
