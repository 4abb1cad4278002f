/** @import {GetToken} from "./types.d.ts" */
/**
 * Live progress of a user's jobs.
 *
 * Attributes: `user-id`, without which nothing is watched; `compact` for one line instead of a card; `src`,
 * the address of the service if this module was not loaded from it; `theme`, one of `light`, `dark` and
 * `system`, if the element shall not follow the page's `color-scheme`.
 */
export class EnrichmentProgressBar extends HTMLElement {
    static observedAttributes: string[];
    set getToken(getToken: GetToken | null);
    /**
     * Gives a bearer token, or a promise of one, at every attempt to connect. Without it the session's cookie
     * counts.
     */
    get getToken(): GetToken | null;
    set userId(userId: string);
    /** Names the user; "" watches nobody. What is shown is decided by the credential alone. */
    get userId(): string;
    set compact(compact: boolean);
    get compact(): boolean;
    connectedCallback(): void;
    disconnectedCallback(): void;
    attributeChangedCallback(): void;
    #private;
}
import type { GetToken } from "./types.d.ts";
