export class Row {
    /** @param {Texts} words */
    constructor(words: Texts);
    element: HTMLElement;
    /** @param {Job} job @param {boolean} isCurrent */
    render(job: Job, isCurrent: boolean): void;
    /** Come in; gently, if there is time for it. @param {boolean} isGentle */
    arrive(isGentle: boolean): this;
    /** Go; gently, if there is time for it. @param {boolean} isGentle */
    leave(isGentle: boolean): void;
    #private;
}
import type { Job } from "./types.d.ts";
import type { Texts } from "./texts.js";
