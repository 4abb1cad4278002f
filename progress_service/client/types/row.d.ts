export class Row {
    /** @param {Host} host */
    constructor(host: Host);
    element: HTMLElement;
    /** @param {Job} job @param {boolean} isCurrent @param {number} now */
    render(job: Job, isCurrent: boolean, now: number): void;
    /** Come in; gently, if there is time for it. @param {boolean} isGentle */
    arrive(isGentle: boolean): this;
    /** Go; gently, if there is time for it. @param {boolean} isGentle */
    leave(isGentle: boolean): void;
    #private;
}
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
import type { Job } from "./types.d.ts";
import type { Host } from "./element.js";
import type { Command } from "./element.js";
