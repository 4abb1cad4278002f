/** @param {Host} host */
export function rowOf(host: Host): {
    element: HTMLElement;
    render: (job: Job, isCurrent: boolean, now: number) => void;
    /** Come in gently. */
    arrive: () => undefined;
    /** Go; gently, if there is time for it. @param {boolean} isGentle */
    leave(isGentle: boolean): void;
};
/**
 * What opens below a job.
 */
export type Panel = {
    element: HTMLElement;
    render: (job: Job) => void;
};
/**
 * What opens below a job.
 */
export type PanelClass = new (host: Host, job: Job, close: (command?: Command) => void) => Panel;
import type { Host } from "./session.js";
import type { Job } from "./types.d.ts";
import type { Command } from "./types.d.ts";
