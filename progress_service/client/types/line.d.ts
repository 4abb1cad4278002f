export class Line {
    /** @param {Texts} words @param {() => void} renderAgain Asks for another `render` soon. */
    constructor(words: Texts, renderAgain: () => void);
    element: HTMLElement;
    /** @param {ProgressState} state */
    render(state: ProgressState): void;
    #private;
}
import type { ProgressState } from "./types.d.ts";
import type { Texts } from "./texts.js";
