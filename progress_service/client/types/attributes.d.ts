export class Attributes extends HTMLElement {
    static observedAttributes: string[];
    set userId(text: string | null);
    /**
     * Names the user; null watches nobody. What is shown is decided by the credential alone.
     * @type {string | null}
     */
    get userId(): string | null;
    set src(text: string | null);
    /** The address of the service; null is where this module came from. @type {string | null} */
    get src(): string | null;
    set theme(text: string | null);
    /** `light`, `dark` or `system`; null follows the `color-scheme` of the page. @type {string | null} */
    get theme(): string | null;
    set demo(text: string | null);
    /** A scene that plays without a service; "" is a job from its start to its end. @type {string | null} */
    get demo(): string | null;
    set compact(is: boolean);
    /** One line instead of a card. */
    get compact(): boolean;
    set reserve(is: boolean);
    /** Whether the line keeps its place while there is nothing to show. */
    get reserve(): boolean;
    set history(is: boolean);
    /** Whether the card offers the jobs that have ended. */
    get history(): boolean;
    set notify(is: boolean);
    /** Whether people may be notified when a job ends. */
    get notify(): boolean;
    set titleProgress(is: boolean);
    /** Whether the title of the page shows the percentage. */
    get titleProgress(): boolean;
    /**
     * A property that was set before the class was there hides the one of the class.
     * @protected
     * @param {string[]} more
     */
    protected adopt(more: string[]): void;
    #private;
}
