export const cardStyles: CSSStyleSheet;
