/** @param {Host} host */
export function view({ language, renderSoon }: Host): {
    element: HTMLElement;
    render: (state: ProgressState, now: number) => void;
};
export const sheets: CSSStyleSheet[];
import type { Host } from "./session.js";
import type { ProgressState } from "./types.d.ts";
