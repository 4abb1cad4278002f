export class Panel {
    /** @param {Host} host @param {Job} job @param {(command?: Command) => void} close */
    constructor({ language }: Host, job: Job, close: (command?: Command) => void);
    element: HTMLElement;
    /** @param {Job} job */
    render(job: Job): void;
    #private;
}
import type { Job } from "./types.d.ts";
import type { Host } from "./session.js";
import type { Command } from "./types.d.ts";
