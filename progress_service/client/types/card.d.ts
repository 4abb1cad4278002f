export class View {
    static styles: CSSStyleSheet[];
    /** @param {Host} host */
    constructor(host: Host);
    element: HTMLElement;
    /** @param {ProgressState} state @param {number} now */
    render(state: ProgressState, now: number): void;
    #private;
}
import type { ProgressState } from "./types.d.ts";
import type { Host } from "./element.js";
