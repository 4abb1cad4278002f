/** @param {Host} host */
export function rowOf(host: Host): {
    element: HTMLElement;
    render: (job: Job, isCurrent: boolean, now: number) => void;
    /** Come in gently. */
    arrive: () => void;
    /** Go; gently, if there is time for it. @param {boolean} isGentle */
    leave(isGentle: boolean): Promise<void>;
};
/**
 * What opens below a job.
 */
export type Panel = {
    element: HTMLElement;
    render: (job: Job) => void;
};
/**
 * A row, as those see it who do something for it. `refuse` says below the job, and aloud, that a press came to
 * nothing.
 */
export type PanelClass = new (host: Host, job: Job, close: (command?: Command) => void) => Panel;
/**
 * What opens below a job.
 */
export type Row = {
    host: Host;
    element: HTMLElement;
    /**
     * What is open below, by the button that opened it.
     */
    panels: Map<HTMLElement, Panel>;
    refuse: (action: string, reason: string) => void;
    job: () => Job | null;
};
import type { Host } from "./session.js";
import type { Job } from "./types.d.ts";
import type { Command } from "./types.d.ts";
