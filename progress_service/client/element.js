/** The element: attributes in, events out. Importing this defines nothing. */

import { Attributes } from "./attributes.js";
import { texts } from "./languages.js";
import { begin } from "./session.js";

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
  static texts = texts;

  #root = this.attachShadow({ mode: "open" });
  /** What the present attributes ask for. @type {ReturnType<typeof begin> | null} */
  #session = null;
  /** @type {GetToken | null} */
  #getToken = null;
  #isRestarting = false;

  /**
   * Gives a bearer token, or a promise of one, at every attempt to connect. Without it the session's cookie
   * counts.
   */
  get getToken() {
    return this.#getToken;
  }

  set getToken(getToken) {
    this.#getToken = getToken;
    if (getToken) this.#session?.useToken(getToken);
  }

  /** Ask the worker to pause. @param {string} id Of a job. */
  async pause(id) {
    await this.#ask("pause", id);
  }

  /** Ask the worker to go on. @param {string} id Of a job. */
  async resume(id) {
    await this.#ask("resume", id);
  }

  /**
   * Ask the worker to stop for good. This does not ask whether people are sure.
   * @param {string} id Of a job.
   */
  async cancel(id) {
    await this.#ask("cancel", id);
  }

  connectedCallback() {
    this.adopt(["getToken"]);
    this.#start();
  }

  disconnectedCallback() {
    this.#session?.end();
  }

  attributeChangedCallback() {
    if (!this.#session || this.#isRestarting) return;
    this.#isRestarting = true;
    queueMicrotask(() => {
      this.#isRestarting = false;
      if (this.isConnected) this.#start();
    });
  }

  /** @param {Command} command @param {string} id */
  async #ask(command, id) {
    const refusal = await this.#session?.ask(command, id);
    if (refusal) throw refusal.error;
  }

  #start() {
    this.#session?.end();
    this.#session = begin(this, this.#root);
  }
}
