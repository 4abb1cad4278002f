/**
 * A new element. Its parts are what a page may style by `::part`; the first is its class as well.
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
/** @typedef {keyof typeof SHAPES} Shape */
/** The shape that goes with each word for a connection. @type {Record<keyof Texts["connection"], Shape>} */
export const CONNECTION_SHAPES: Record<keyof Texts["connection"], Shape>;
/** A picture beside a text that says the same, so it is silent. */
export class Icon {
    element: SVGSVGElement;
    /** @param {string} shape */
    show(shape: string): void;
    #private;
}
/** The bar itself: what is done, and behind it what failed. */
export class Bar {
    element: HTMLElement;
    /** @param {Job} job @param {Texts} words @param {boolean} isCurrent */
    show(job: Job, words: Texts, isCurrent: boolean): void;
    #private;
}
export type Shape = keyof typeof SHAPES;
import type { Texts } from "./texts.js";
import type { Job } from "./types.d.ts";
declare namespace SHAPES {
    let pending: string;
    let running: string;
    let paused: string;
    let completed: string;
    let failed: string;
    let cancelled: string;
    let live: string;
    let cut: string;
}
export {};
