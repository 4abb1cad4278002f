/**
 * A new element. Its parts are what a page may style by `::part`; here they are its classes.
 * @param {string} tag
 * @param {string} part
 * @param {...(Node | string)} children
 */
export function make(tag: string, part: string, ...children: (Node | string)[]): HTMLElement;
/**
 * Set a text, and leave the document alone when it is there already.
 * @param {Element} element
 * @param {string | false | null | undefined} text
 */
export function write(element: Element, text: string | false | null | undefined): void;
/**
 * Set attributes where they are not so already: to "" by true, and away by null, false or "".
 * @param {Element} element
 * @param {Record<string, string | boolean | null | undefined>} attributes
 */
export function mark(element: Element, attributes: Record<string, string | boolean | null | undefined>): void;
/**
 * A picture beside a text that says the same, so it is silent.
 * @param {string} [name]
 */
export function icon(name?: string): {
    element: SVGSVGElement;
    show: (name: string) => void;
};
/** The bar itself: what is done, and behind it what failed. */
export function bar(): {
    element: HTMLElement;
    /** @param {Job} job @param {Language} language @param {boolean} isCurrent */
    show(job: Job, language: Language, isCurrent: boolean): void;
};
/**
 * What each icon shows, in a box of 16 by 16. A shape of its own for each, since colour alone says nothing to
 * many.
 * @type {Record<string, string>}
 */
export const SHAPES: Record<string, string>;
export function spans(...parts: string[]): HTMLElement[];
export function statusLook({ status, stalled }: Job): import("./types.d.ts").Status | "stalled";
export function labelOf({ label }: Job, language: Language): string;
export function failuresOf({ progress: { failed } }: Job, language: Language): string;
export function percentageOf({ progress, percentage }: Job, language: Language): string;
import type { Job } from "./types.d.ts";
import type { Language } from "./texts.js";
export { sheet, styles } from "./styles.js";
