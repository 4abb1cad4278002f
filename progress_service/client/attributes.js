/** The element's attributes, and the properties that say the same: frameworks set the one or the other. */

/** What may have been set before the class was there. */
const PROPERTIES = [
  ...["userId", "src", "theme", "demo", "compact"],
  ...["reserve", "history", "notify", "titleProgress"],
];

export class Attributes extends HTMLElement {
  static observedAttributes = [
    "user-id",
    "src",
    "compact",
    "history",
    "notify",
    "title-progress",
    "demo",
    "lang",
  ];

  /**
   * Names the user; null watches nobody. What is shown is decided by the credential alone.
   * @type {string | null}
   */
  get userId() {
    return this.getAttribute("user-id");
  }

  set userId(text) {
    this.#reflect("user-id", text);
  }

  /** The address of the service; null is where this module came from. @type {string | null} */
  get src() {
    return this.getAttribute("src");
  }

  set src(text) {
    this.#reflect("src", text);
  }

  /** `light`, `dark` or `system`; null follows the `color-scheme` of the page. @type {string | null} */
  get theme() {
    return this.getAttribute("theme");
  }

  set theme(text) {
    this.#reflect("theme", text);
  }

  /** A scene that plays without a service; "" is a job from its start to its end. @type {string | null} */
  get demo() {
    return this.getAttribute("demo");
  }

  set demo(text) {
    this.#reflect("demo", text);
  }

  /** One line instead of a card. */
  get compact() {
    return this.hasAttribute("compact");
  }

  set compact(is) {
    this.toggleAttribute("compact", Boolean(is));
  }

  /** Whether the line keeps its place while there is nothing to show. */
  get reserve() {
    return this.hasAttribute("reserve");
  }

  set reserve(is) {
    this.toggleAttribute("reserve", Boolean(is));
  }

  /** Whether the card offers the jobs that have ended. */
  get history() {
    return this.hasAttribute("history");
  }

  set history(is) {
    this.toggleAttribute("history", Boolean(is));
  }

  /** Whether people may be notified when a job ends. */
  get notify() {
    return this.hasAttribute("notify");
  }

  set notify(is) {
    this.toggleAttribute("notify", Boolean(is));
  }

  /** Whether the title of the page shows the percentage. */
  get titleProgress() {
    return this.hasAttribute("title-progress");
  }

  set titleProgress(is) {
    this.toggleAttribute("title-progress", Boolean(is));
  }

  /**
   * A property that was set before the class was there hides the one of the class.
   * @protected
   * @param {string[]} more
   */
  adopt(more) {
    const self = /** @type {any} */ (this);
    for (const name of [...PROPERTIES, ...more]) {
      if (!Object.hasOwn(this, name)) continue;
      const value = self[name];
      delete self[name];
      self[name] = value;
    }
  }

  /** @param {string} name @param {string | null} text */
  #reflect(name, text) {
    // Nobody is called "", and no service is there; a scene may be.
    if (text === null || text === undefined || (text === "" && name !== "demo")) this.removeAttribute(name);
    else this.setAttribute(name, text);
  }
}
