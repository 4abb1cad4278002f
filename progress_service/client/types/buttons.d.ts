/**
 * A button: its parts are those given, and `button`.
 * @param {string} part
 * @param {(event: any) => void} act
 * @param {...(Node | string)} children
 */
export function button(part: string, act: (event: any) => void, ...children: (Node | string)[]): HTMLButtonElement;
/**
 * A stylesheet for what is in the same shadow root as *element*.
 * @param {Element} element
 * @param {CSSStyleSheet} sheet
 */
export function adopt(element: Element, sheet: CSSStyleSheet): void;
