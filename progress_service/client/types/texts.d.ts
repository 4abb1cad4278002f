/**
 * Which of the words for a connection says how far the figures can be trusted.
 * @param {ProgressState} state
 * @returns {keyof Texts["connection"]}
 */
export function connectionName({ connection, feed }: ProgressState): keyof Texts["connection"];
export function texts(_tag?: string): Texts;
export function statusText(job: Job, words: Texts): string;
export type Texts = typeof english;
import type { ProgressState } from "./types.d.ts";
import type { Job } from "./types.d.ts";
declare namespace english {
    export let title: string;
    export let empty: string;
    export let unlabelled: string;
    export namespace status {
        let pending: string;
        let running: string;
        let paused: string;
        let completed: string;
        let failed: string;
        let cancelled: string;
    }
    export namespace requested {
        let pause: string;
        let resume: string;
        let cancel: string;
    }
    export namespace connection {
        let idle: string;
        let connecting: string;
        let live: string;
        let reconnecting: string;
        let refused: string;
        let signedOut: string;
        let degraded: string;
        let lost: string;
    }
    export function count(done: number, total: number): string;
    export { contacts };
    export function failed_1(count: number): string;
    export { failed_1 as failed };
    export function active(count: number): string;
    export function percentage(percentage: number): string;
    export function stale(milliseconds: number): string;
    export function spoken({ progress: { total, completed, failed }, percentage }: Job, isCurrent: boolean): string;
}
/** @param {number} total */
declare function contacts(total: number): "contact" | "contacts";
export {};
