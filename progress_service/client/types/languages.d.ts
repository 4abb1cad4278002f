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
export const known: Map<string, Words>;
export namespace texts {
    /** @param {string} tag A language (BCP 47). @param {Words} words */
    function set(tag: string, words: Words): void;
    /**
     * Call *listener* after each `set`, until the function that this returns is called.
     * @param {() => void} listener
     */
    function subscribe(listener: () => void): () => undefined;
}
/**
 * By the plural of `n`, where it
 * matters.
 */
export type Phrase = string | Partial<Record<Intl.LDMLPluralRule, string>>;
/**
 * By the names that `texts.js` has. What is left out is
 * English.
 */
export type Words = Record<string, Phrase | undefined>;
