/** The element's attributes, and the properties that say the same: frameworks set the one or the other. */

/** Properties that are a text or null, by their attributes. @type {Record<string, string>} */
const TEXTS = { "user-id": "userId", src: "src", demo: "demo", theme: "theme" };
/** Properties that are true or false. @type {Record<string, string>} */
const SWITCHES = {
  compact: "compact",
  history: "history",
  notify: "notify",
  "title-progress": "titleProgress",
  reserve: "reserve",
};
const ALL = { ...TEXTS, ...SWITCHES };

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
  // What the others change is up to the stylesheet alone.
  static observedAttributes = [
    ...["user-id", "src", "demo", "compact"],
    ...["history", "notify", "title-progress", "lang"],
  ];

  /**
   * A property that was set before the class was there hides the one of the class.
   * @param {string[]} more
   */
  adopt(more) {
    const self = /** @type {any} */ (this);
    for (const name of [...Object.values(ALL), ...more]) {
      if (!Object.hasOwn(this, name)) continue;
      const value = self[name];
      delete self[name];
      self[name] = value;
    }
  }
}

for (const [attribute, name] of Object.entries(ALL)) {
  const isText = attribute in TEXTS;
  Object.defineProperty(Attributes.prototype, name, {
    /** @this {HTMLElement} */
    get() {
      return isText ? this.getAttribute(attribute) : this.hasAttribute(attribute);
    },
    /** @this {HTMLElement} @param {any} value */
    set(value) {
      if (!isText) this.toggleAttribute(attribute, Boolean(value));
      // Nobody is called "", and no service is there; a scene may be.
      else if (value || (value === "" && name === "demo")) this.setAttribute(attribute, value);
      else this.removeAttribute(attribute);
    },
  });
}
