/** The full view: a card with the totals, how the connection stands, and a row for every job. */

import { isCurrent } from "./store.js";
import { time } from "./moments.js";
import { Icon, button, make, mark, styles, write } from "./parts.js";
import { cardStyles } from "./card-styles.js";
import { Row } from "./row.js";
import { connectionName, learn } from "./texts.js";

/** @import {Host} from "./element.js" */
/** @import {Job, ProgressState} from "./types.d.ts" */

learn({
  title: "Enrichment jobs",
  empty: "No jobs are running",
  active: "{n} active",
  since: "Last update {time}",
  history: "View history",
});

/** More arrivals or departures at once than this happen without ceremony. */
const MOVES_MAX = 12;
/** More rows than this are not made in one frame: the page would stand still for it. */
const NEW_ROWS_MAX = 40;

export class View {
  #active = make("span", "active");
  #sums = make("span", "sums");
  #icon = new Icon();
  #word = make("span", "word");
  #connection = make("span", "connection", this.#icon.element, this.#word);
  #list = make("ul", "list");
  #empty = make("p", "empty");
  /** Buttons that a page has asked for. */
  #footer = make("div", "footer");
  element;

  #host;
  /** @type {Map<string, Row>} */
  #rows = new Map();
  /** @type {ProgressState | null} */
  #shown = null;

  /** @param {Host} host */
  constructor(host) {
    this.#host = host;
    const title = host.language.say("title");
    const totals = make("span", "totals", this.#active, this.#sums);
    const header = make("div", "header", make("span", "title", title), totals, this.#connection);
    this.element = make("div", "card", header, make("div", "body", this.#list, this.#empty), this.#footer);
    mark(this.element, "role", "group");
    mark(this.element, "aria-label", title);
    // Without it, Safari does not take a list without bullets for one.
    mark(this.#list, "role", "list");
    if (host.element.history) this.#offerHistory();
  }

  /** @param {ProgressState} state @param {number} now */
  render(state, now) {
    const current = isCurrent(state);
    if (state !== this.#shown) {
      this.#renderHeader(state);
      mark(this.element, "data-stale", current ? null : "");
      write(this.#empty, this.#emptiness(state));
      mark(this.#empty, "data-shown", state.jobs.length === 0 ? "" : null);
    }
    this.#renderJobs(state.jobs, current, now);
    this.#shown = state;
  }

  /** @param {ProgressState} state */
  #renderHeader(state) {
    const name = connectionName(state);
    mark(this.#connection, "data-state", name);
    mark(this.#connection, "title", state.connection.problem?.detail || null);
    this.#icon.show(name);
    write(this.#word, this.#host.language.say(name));
    this.#renderTotals(state);
  }

  /** @param {ProgressState} state */
  #renderTotals({ connection, feed, totals, jobs }) {
    const { language } = this.#host;
    const isKnown = jobs.length > 0 && totals !== null && feed !== "lost";
    const isLive = isKnown && connection.state === "live";
    write(this.#active, isLive && totals.active > 0 ? language.say("active", { n: totals.active }) : "");
    if (isLive && totals.total > 0) {
      const sums = language.say("of", { done: totals.completed, n: totals.total });
      write(this.#sums, `${sums} · ${language.percentage(totals.percentage)}`);
    } else {
      write(
        this.#sums,
        isKnown && !isLive ? language.say("since", { time: time(connection.since, language) }) : "",
      );
    }
  }

  /**
   * What stands where the jobs would be. Only a service that answers can say that there are none.
   * @param {ProgressState} state
   */
  #emptiness(state) {
    const { problem } = state.connection;
    const name = isCurrent(state) ? "empty" : connectionName(state);
    return (name !== "empty" && problem?.detail) || this.#host.language.say(name);
  }

  /** @param {readonly Job[]} jobs @param {boolean} current @param {number} now */
  #renderJobs(jobs, current, now) {
    if (jobs !== this.#shown?.jobs) this.#removeAllBut(jobs);
    const arriving = jobs.length - this.#rows.size;
    const isGentle = this.#shown !== null && arriving <= MOVES_MAX;
    let room = NEW_ROWS_MAX;
    let next = standing(this.#list.firstElementChild);
    for (const job of jobs) {
      const known = this.#rows.get(job.id);
      if (!known && room-- === 0) return this.#host.renderSoon();
      const row = known ?? new Row(this.#host);
      row.render(job, current, now);
      if (row.element === next) next = standing(next.nextElementSibling);
      else this.#list.insertBefore(row.element, next);
      if (!known) this.#rows.set(job.id, row.arrive(isGentle));
    }
  }

  /** @param {readonly Job[]} jobs */
  #removeAllBut(jobs) {
    const staying = new Set(jobs.map(({ id }) => id));
    const leaving = [...this.#rows].filter(([id]) => !staying.has(id));
    for (const [id, row] of leaving) {
      this.#rows.delete(id);
      row.leave(leaving.length <= MOVES_MAX);
    }
  }

  #offerHistory() {
    const toggle = async () => (await import("./history.js")).toggleHistory(opener, this.#host);
    const opener = button("history-button", toggle, this.#host.language.say("history"));
    mark(opener, "aria-expanded", "false");
    this.#footer.append(opener);
  }

  static styles = [styles, cardStyles];
}

/** *element*, or the first after it that is not on its way out. @param {Element | null} element */
function standing(element) {
  while (element?.hasAttribute("data-leaving")) element = element.nextElementSibling;
  return element;
}
