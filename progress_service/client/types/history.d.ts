/** Show the history below *opener*, or take it away again. @param {HTMLElement} opener @param {Host} host */
export function toggleHistory(opener: HTMLElement, host: Host): void;
import type { Host } from "./session.js";
