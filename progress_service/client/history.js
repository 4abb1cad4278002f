/** The jobs that have ended, a page at a time, below the card of those that run. */

import { clock } from "./moments.js";
import { adopt, button } from "./buttons.js";
import { failuresOf, icon, labelOf, make, mark, sheet, write } from "./parts.js";
import { learn } from "./texts.js";

/** @import {Follower, Host} from "./session.js" */
/** @import {Job} from "./types.d.ts" */

learn({
  history: "View history",
  hideHistory: "Hide history",
  noHistory: "Nothing has ended yet",
  noneOfThese: "None of these has ended yet",
  shownStatus: "Show",
  all: "All",
  older: "Show older",
  retry: "Try again",
  loading: "Loading…",
});

const PAGE = 10;
const STATUSES = /** @type {const} */ (["completed", "failed", "cancelled"]);

/** Offer the history below the card. @param {Host} host @returns {Follower} */
export function follow(host) {
  const { say } = host.language;
  const footer = host.root.querySelector(".footer");
  const opener = button("history-button", toggle, say("history"));
  /** @type {HTMLElement | null} */
  let shown = null;

  function toggle() {
    mark(opener, { "aria-expanded": String(!shown) });
    write(opener, say(shown ? "history" : "hideHistory"));
    shown?.remove();
    shown = shown ? null : new History(host).element;
    if (!shown) return;
    footer?.after(shown);
    adopt(shown, styles);
  }

  mark(opener, { "aria-expanded": "false" });
  footer?.append(opener);
  return () => {};
}

class History {
  #list = make("ul", "list ended");
  #note = make("p", "note");
  #filter = /** @type {HTMLSelectElement} */ (make("select", "filter"));
  #older;
  element;

  #host;
  /** @type {string | null} Where the next page begins. */
  #before = null;
  /** Counts the choices of a status: an answer to an earlier one comes too late. */
  #choices = 0;

  /** @param {Host} host */
  constructor(host) {
    const { say } = host.language;
    this.#host = host;
    this.#older = button("older plain", () => this.#load(), "");
    const label = make("label", "filter-label", say("shownStatus"), this.#filter);
    const end = make("div", "history-end", this.#note, this.#older);
    this.element = make("div", "history", make("div", "history-start", label), this.#list, end);
    this.#filter.append(new Option(say("all"), ""), ...STATUSES.map((status) => new Option(say(status), status)));
    this.#filter.onchange = () => this.#choose();
    mark(this.#list, { role: "list" });
    mark(this.#note, { role: "status" });
    this.#load();
  }

  /** Begin anew with the status that was chosen. */
  #choose() {
    this.#choices++;
    this.#before = null;
    this.#list.replaceChildren();
    this.#older.hidden = true;
    this.#load();
  }

  async #load() {
    const { language, watch } = this.#host;
    const choice = this.#choices;
    const status = this.#filter.value;
    this.#older.disabled = true;
    write(this.#note, language.say("loading"));
    try {
      const page = await watch?.history({
        limit: PAGE,
        ...(this.#before !== null && { before: this.#before }),
        ...(status && { status }),
      });
      if (choice !== this.#choices) return;
      const jobs = page?.jobs ?? [];
      const hadFocus = this.#older.matches(":focus") || this.#older.disabled;
      const rows = jobs.map((job) => this.#row(job));
      this.#list.append(...rows);
      this.#before = page?.next ?? null;
      const isEmpty = this.#list.childElementCount === 0;
      write(this.#note, isEmpty && language.say(status ? "noneOfThese" : "noHistory"));
      write(this.#older, language.say("older"));
      // Whoever asked for more goes on reading where the new ones begin.
      if (hadFocus && this.#list.childElementCount > rows.length) rows[0]?.focus();
      this.#older.hidden = this.#before === null;
    } catch (error) {
      if (choice !== this.#choices) return;
      const { problem } = /** @type {{problem?: {title: string, detail: string}}} */ (error);
      write(this.#note, problem?.detail || problem?.title || String(error));
      write(this.#older, language.say("retry"));
      this.#older.hidden = false;
    }
    this.#older.disabled = false;
  }

  /** @param {Job & {duration_seconds?: number | null}} job */
  #row(job) {
    const { language } = this.#host;
    const label = labelOf(job, language);
    const facts = [
      make("span", "status", language.say(job.status)),
      make("span", "count", language.count(job.progress)),
    ];
    const failures = failuresOf(job, language);
    if (failures) facts.push(make("span", "failed-count", failures));
    const seconds = job.duration_seconds ?? null;
    if (seconds !== null)
      facts.push(make("span", "elapsed", language.say("took", { time: clock(seconds, language) })));
    const when = new Intl.DateTimeFormat(language.tag, { dateStyle: "medium", timeStyle: "short" });
    const ended = make("time", "when", job.finished_at ? when.format(Date.parse(job.finished_at)) : "");
    mark(ended, { datetime: job.finished_at });
    const name = make("span", "label", label);
    mark(name, { title: label });
    name.dir = "auto";
    const row = make("li", "past", icon(job.status).element, name, ended, make("div", "facts", ...facts));
    if (job.error) row.append(make("p", "error", job.error));
    mark(row, { "data-status": job.status });
    row.tabIndex = -1;
    return row;
  }
}

const styles = sheet(/* css */ `
.history { border-block-start: 1px solid var(--_border); }
.history-start { padding: 0.375rem var(--_pad) 0; color: var(--_muted); }
.filter-label { display: inline-flex; align-items: center; gap: 0.5rem; }
.filter {
  min-block-size: 24px;
  padding: 0.125rem 0.375rem;
  border: 1px solid var(--_border);
  border-radius: 0.375rem;
  background: var(--_surface);
  color: var(--_ink);
  font: inherit;
}
.past {
  display: grid;
  grid-template-columns: 1rem minmax(0, 1fr) auto;
  gap: 0.125rem 0.625rem;
  align-items: center;
  padding: 0.5rem var(--_pad);
  content-visibility: auto;
  contain-intrinsic-block-size: auto 3.5rem;
}
.past > .icon { color: var(--_text); }
.when { color: var(--_muted); }
.past > .facts, .past > .error { grid-column: 2 / -1; }
.past .elapsed { margin-inline-start: auto; }
.history-end { display: flex; align-items: center; gap: 0.5rem; padding: 0.375rem var(--_pad); }
.history-end:not(:has(:not(:empty, [hidden]))) { display: none; }
.note { margin: 0; color: var(--_muted); overflow-wrap: anywhere; }
.note:empty { display: none; }
.older { padding-inline: 0.375rem; margin-inline: -0.375rem; }
@container (inline-size < 26rem) {
  .when { grid-area: 2 / 2 / auto / -1; }
  .past .elapsed { margin-inline-start: 0; }
}
@container (inline-size < 15rem) {
  .past > :nth-child(n + 3) { grid-column: 1 / -1; }
  .when { grid-row: auto; }
}
`);
