export class Panel {
    /** @param {Host} host @param {Job} job @param {(command?: Command) => void} close */
    constructor({ language }: Host, job: Job, close: (command?: Command) => void);
    element: HTMLElement;
    render(): void;
    #private;
}
import type { Host } from "./element.js";
import type { Job } from "./types.d.ts";
import type { Command } from "./element.js";
