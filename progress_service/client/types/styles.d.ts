/**
 * How both views look. A page changes it by `--progress-…` properties and by `::part()`.
 *
 * The element follows the `color-scheme` of the page, so it stays light on a page that is light only; the
 * attribute `theme` overrules that. A constructed stylesheet needs no `unsafe-inline` in a Content-Security-
 * Policy.
 */
/** @param {string} text */
export function sheet(text: string): CSSStyleSheet;
export const styles: CSSStyleSheet;
