/**
 * The words that each language has, by its tag. The views speak them (`texts.js`); a page may add a
 * language.
 */

/**
 * @typedef {string | Partial<Record<Intl.LDMLPluralRule, string>>} Phrase By the plural of `n`, where it
 * matters.
 */
/**
 * @typedef {Record<string, Phrase | undefined>} Words By the names that `texts.js` has. What is left out is
 * English.
 */

/** @type {Map<string, Words>} */
export const known = new Map();
/** @type {Set<() => void>} */
const listeners = new Set();

/** The languages of all elements: `texts.set("fr", { running: "En cours", … })`. */
export const texts = {
  /** @param {string} tag A language (BCP 47). @param {Words} words */
  set(tag, words) {
    known.set(tag.toLowerCase(), words);
    for (const listener of listeners) listener();
  },
  /**
   * Call *listener* after each `set`, until the function that this returns is called.
   * @param {() => void} listener
   */
  subscribe(listener) {
    listeners.add(listener);
    return () => void listeners.delete(listener);
  },
};
