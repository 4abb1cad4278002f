export class Panel {
    /** @param {Host} host @param {Job} job @param {(command?: Command) => void} close */
    constructor({ language }: Host, job: Job, close: (command?: Command) => void);
    element: HTMLElement;
    render(): void;
    #private;
}
import type { Host } from "./session.js";
import type { Job } from "./types.d.ts";
import type { Command } from "./types.d.ts";
