export class Panel {
    /** @param {Host} host */
    constructor({ language }: Host);
    element: HTMLElement;
    /** @param {Job} job */
    render({ progress }: Job): void;
    #private;
}
export type Batch = {
    batch: number;
    total: number;
    completed: number;
    failed: number;
};
import type { Job } from "./types.d.ts";
import type { Host } from "./session.js";
