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
 * @param {string} text
 */
export function write(element: Element, text: string): void;
/**
 * Set an attribute, or remove it by null, if it is not so already.
 * @param {Element} element
 * @param {string} name
 * @param {string | null} value
 */
export function mark(element: Element, name: string, value: string | null): void;
/**
 * A stylesheet for what is in the same shadow root as *element*.
 * @param {Element} element
 * @param {CSSStyleSheet} sheet
 */
export function adopt(element: Element, sheet: CSSStyleSheet): void;
/**
 * A button: its parts are those given, and `button`.
 * @param {string} part
 * @param {() => void} act
 * @param {...(Node | string)} children
 */
export function button(part: string, act: () => void, ...children: (Node | string)[]): HTMLButtonElement;
/** A picture beside a text that says the same, so it is silent. */
export class Icon {
    /** @param {string} [name] */
    constructor(name?: string);
    element: SVGSVGElement;
    /** @param {string} name Of a status, an action or a state of the connection. */
    show(name: string): void;
    #private;
}
/** The bar itself: what is done, and behind it what failed. */
export class Bar {
    element: HTMLElement;
    /** @param {Job} job @param {Language} language @param {boolean} isCurrent */
    show(job: Job, language: Language, isCurrent: boolean): void;
    #private;
}
export function statusLook({ status, stalled }: Job): import("./types.d.ts").Status | "stalled";
export function labelOf({ label }: Job, language: Language): string;
import type { Job } from "./types.d.ts";
import type { Language } from "./texts.js";
export { sheet, styles } from "./styles.js";
