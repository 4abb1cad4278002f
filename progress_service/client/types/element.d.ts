/** @import {Command, GetToken} from "./types.d.ts" */
/**
 * Live progress of a user's jobs.
 *
 * @attr {string} user-id - Names the user; without it nothing is watched.
 * @attr {string} src - The address of the service, if this module was not loaded from it.
 * @attr {boolean} compact - One line instead of a card.
 * @attr {boolean} reserve - The line keeps its place while there is nothing to show.
 * @attr {"light" | "dark" | "system"} theme - If the element shall not follow the `color-scheme` of the page.
 * @attr {string} lang - The language; without it that of the page.
 * @attr {boolean} history - The card offers the jobs that have ended.
 * @attr {boolean} notify - People may be notified when a job ends.
 * @attr {boolean} title-progress - The title of the page shows the percentage.
 * @attr {string} demo - A scene that plays without a service.
 *
 * @fires {CustomEvent<{job: Job, before: Job | null}>} job-change - A job is new to the page, or has changed.
 * @fires {CustomEvent<{job: Job}>} job-finished - A job that the page had seen at work has ended.
 * @fires {CustomEvent<{connection: ConnectionState, feed: Feed}>} connection-change - How far to trust figures.
 * @fires {CustomEvent<{id: string, command: Command, problem: Problem | null}>} command-failed - Refused.
 * Who prevents its default says so instead of the element.
 */
export class EnrichmentProgressBar extends Attributes {
    /** The words of other languages: `texts.set("fr", { running: "En cours", … })`. */
    static texts: {
        set(tag: string, words: Words): void;
        subscribe(listener: () => void): () => undefined;
    };
    set getToken(getToken: GetToken | null);
    /**
     * Gives a bearer token, or a promise of one, at every attempt to connect. Without it the session's cookie
     * counts.
     */
    get getToken(): GetToken | null;
    /** Ask the worker to pause. @param {string} id Of a job. */
    pause(id: string): Promise<void>;
    /** Ask the worker to go on. @param {string} id Of a job. */
    resume(id: string): Promise<void>;
    /**
     * Ask the worker to stop for good. This does not ask whether people are sure.
     * @param {string} id Of a job.
     */
    cancel(id: string): Promise<void>;
    connectedCallback(): void;
    disconnectedCallback(): void;
    attributeChangedCallback(): void;
    #private;
}
import { Attributes } from "./attributes.js";
import type { GetToken } from "./types.d.ts";
