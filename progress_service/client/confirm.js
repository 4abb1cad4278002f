/** The question before a job is cancelled. Opened below the job, answered by keyboard or pointer. */

import { adopt, button } from "./buttons.js";
import { isFinished } from "./store.js";
import { labelOf, make, mark, sheet } from "./parts.js";
import { learn } from "./texts.js";

/** @import {Host} from "./session.js" */
/** @import {Command, Job} from "./types.d.ts" */

learn({ sure: "Cancel this job?", yes: "Cancel job", keep: "Keep it running" });

export class Panel {
  #keep;
  #close;
  #isNew = true;
  element;

  /** @param {Host} host @param {Job} job @param {(command?: Command) => void} close */
  constructor({ language }, job, close) {
    this.#close = close;
    const question = make("span", "question", language.say("sure"));
    const yes = button("confirm danger", () => close("cancel"), language.say("yes"));
    this.#keep = button("keep plain", () => close(), language.say("keep"));
    this.element = make("div", "sure", question, this.#keep, yes);
    const label = `${language.say("sure")} ${labelOf(job, language)}`;
    mark(this.element, { role: "group", "aria-label": label });
    this.element.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      event.stopPropagation();
      close();
    });
  }

  /** @param {Job} job */
  render(job) {
    if (isFinished(job) || job.requested === "cancel") return this.#close();
    if (!this.#isNew) return;
    this.#isNew = false;
    adopt(this.element, styles);
    // A stray press of Enter must not end what took an hour.
    this.#keep.focus();
  }
}

const styles = sheet(/* css */ `
.sure {
  display: flex;
  flex-wrap: wrap;
  align-items: center;
  gap: 0.375rem 0.5rem;
  padding-block-start: 0.125rem;
}
.question { flex: 1 0 auto; max-inline-size: 100%; font-weight: 500; }
.sure .button { padding: 0.1875rem 0.625rem; border: 1px solid var(--_border); color: var(--_ink); }
.sure .confirm { border-color: var(--_failed); color: var(--_failed); }
.sure .confirm:hover { background: var(--_failed); color: var(--_surface); }
`);
