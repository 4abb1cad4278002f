/**
 * The element: attributes in, one of the two views out, at most once a frame. Importing this defines nothing.
 */

import { Card } from "./card.js";
import { Line } from "./line.js";
import { NOTHING_KNOWN } from "./store.js";
import { styles } from "./styles.js";
import { texts } from "./texts.js";
import { watch } from "./watch.js";

/** @import {GetToken} from "./types.d.ts" */

/**
 * Live progress of a user's jobs.
 *
 * Attributes: `user-id`, without which nothing is watched; `compact` for one line instead of a card; `src`,
 * the address of the service if this module was not loaded from it; `theme`, one of `light`, `dark` and
 * `system`, if the element shall not follow the page's `color-scheme`.
 */
export class EnrichmentProgressBar extends HTMLElement {
  static observedAttributes = ["user-id", "src", "compact"];

  #root = this.attachShadow({ mode: "open" });
  /** @type {Card | Line | null} */
  #view = null;
  /** @type {ReturnType<typeof watch> | null} */
  #watch = null;
  #unsubscribe = () => {};
  /** @type {GetToken | null} */
  #getToken = null;
  #frame = 0;

  constructor() {
    super();
    this.#root.adoptedStyleSheets = [styles];
  }

  /**
   * Gives a bearer token, or a promise of one, at every attempt to connect. Without it the session's cookie
   * counts.
   */
  get getToken() {
    return this.#getToken;
  }

  set getToken(getToken) {
    this.#getToken = getToken;
    if (getToken) this.#watch?.useToken(getToken);
  }

  /** Names the user; "" watches nobody. What is shown is decided by the credential alone. */
  get userId() {
    return this.getAttribute("user-id") ?? "";
  }

  set userId(userId) {
    if (userId) this.setAttribute("user-id", userId);
    else this.removeAttribute("user-id");
  }

  get compact() {
    return this.hasAttribute("compact");
  }

  set compact(compact) {
    this.toggleAttribute("compact", compact);
  }

  connectedCallback() {
    for (const name of ["getToken", "userId", "compact"]) this.#adopt(name);
    this.#start();
  }

  disconnectedCallback() {
    this.#stop();
  }

  attributeChangedCallback() {
    if (!this.isConnected || !this.#view) return;
    this.#stop();
    this.#start();
  }

  #start() {
    const { compact, userId } = this;
    const isFitting = compact ? this.#view instanceof Line : this.#view instanceof Card;
    if (!isFitting) {
      const words = texts();
      this.#view = compact ? new Line(words, this.#renderSoon) : new Card(words);
      this.#root.replaceChildren(this.#view.element);
    }
    if (userId) {
      const src = this.getAttribute("src");
      this.#watch = watch({ userId, src, compact, getToken: this.#getToken });
      this.#unsubscribe = this.#watch.subscribe(this.#renderSoon);
    }
    this.#render();
  }

  #stop() {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    this.#unsubscribe();
    this.#watch?.release();
    this.#watch = null;
  }

  #renderSoon = () => {
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      this.#render();
    });
  };

  #render() {
    this.#view?.render(this.#watch?.getSnapshot() ?? NOTHING_KNOWN);
  }

  /** A property that was set before the class was there hides the one of the class. @param {string} name */
  #adopt(name) {
    if (!Object.hasOwn(this, name)) return;
    const self = /** @type {any} */ (this);
    const value = self[name];
    delete self[name];
    self[name] = value;
  }
}
