/** What people press: buttons with their icons, and the looks of what opens by them. */

import { SHAPES, make } from "./parts.js";

Object.assign(SHAPES, {
  pause: "M5.5 3.5v9M10.5 3.5v9",
  resume: "M5 3l8 5-8 5z",
  cancel: "M4 4l8 8M12 4l-8 8",
});

/**
 * A button: its parts are those given, and `button`.
 * @param {string} part
 * @param {(event: any) => void} act
 * @param {...(Node | string)} children
 */
export function button(part, act, ...children) {
  const element = /** @type {HTMLButtonElement} */ (make("button", `${part} button`, ...children));
  element.type = "button";
  element.onclick = act;
  return element;
}

/**
 * A stylesheet for what is in the same shadow root as *element*.
 * @param {Element} element
 * @param {CSSStyleSheet} sheet
 */
export function adopt(element, sheet) {
  const { adoptedStyleSheets } = /** @type {ShadowRoot} */ (element.getRootNode());
  if (!adoptedStyleSheets.includes(sheet)) adoptedStyleSheets.push(sheet);
}
