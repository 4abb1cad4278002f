export class Card {
    /** @param {Texts} words */
    constructor(words: Texts);
    element: HTMLElement;
    /** @param {ProgressState} state */
    render(state: ProgressState): void;
    #private;
}
import type { ProgressState } from "./types.d.ts";
import type { Texts } from "./texts.js";
