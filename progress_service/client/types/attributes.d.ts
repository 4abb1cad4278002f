/**
 * Its properties are defined below, from the tables above, so that they are named here once more: for the
 * manifest here, and for compilers in `types.d.ts`.
 *
 * @prop {string | null} userId
 * @prop {string | null} src
 * @prop {string | null} theme
 * @prop {string | null} demo
 * @prop {boolean} compact
 * @prop {boolean} reserve
 * @prop {boolean} history
 * @prop {boolean} notify
 * @prop {boolean} titleProgress
 */
export class Attributes extends HTMLElement {
    static observedAttributes: string[];
    /**
     * A property that was set before the class was there hides the one of the class.
     * @param {string[]} more
     */
    adopt(more: string[]): void;
    userId: string | null;
    src: string | null;
    theme: string | null;
    demo: string | null;
    compact: boolean;
    reserve: boolean;
    history: boolean;
    notify: boolean;
    titleProgress: boolean;
}
