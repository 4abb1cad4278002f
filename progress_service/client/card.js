/** The full view: a card with the totals, how the connection stands, and a row for every job. */

import { isCurrent } from "./store.js";
import { CONNECTION_SHAPES, Icon, make, mark, write } from "./parts.js";
import { Row } from "./row.js";
import { connectionName } from "./texts.js";

/** @import {Texts} from "./texts.js" */
/** @import {ProgressState} from "./types.d.ts" */

/** More arrivals or departures at once than this happen without ceremony. */
const MOVES_MAX = 12;

export class Card {
  #active = make("span", "active");
  #sums = make("span", "sums");
  #icon = new Icon();
  #word = make("span", "word");
  #connection = make("span", "connection", this.#icon.element, this.#word);
  #list = make("ul", "list");
  #empty = make("p", "empty");
  element;

  #words;
  /** @type {Map<string, Row>} */
  #rows = new Map();
  /** @type {ProgressState | null} */
  #shown = null;

  /** @param {Texts} words */
  constructor(words) {
    this.#words = words;
    const totals = make("span", "totals", this.#active, this.#sums);
    const header = make("header", "header", make("span", "title", words.title), totals, this.#connection);
    this.element = make("section", "card", header, make("div", "body", this.#list, this.#empty));
    mark(this.element, "aria-label", words.title);
    // Without it, Safari does not take a list without bullets for one.
    mark(this.#list, "role", "list");
  }

  /** @param {ProgressState} state */
  render(state) {
    const before = this.#shown;
    if (state === before) return;
    this.#shown = state;
    this.#renderHeader(state);
    if (state.jobs !== before?.jobs || isCurrent(state) !== isCurrent(before))
      this.#renderJobs(state, before !== null);
    mark(this.element, "data-stale", isCurrent(state) ? null : "");
    write(this.#empty, this.#emptiness(state));
    mark(this.#empty, "data-shown", state.jobs.length === 0 ? "" : null);
  }

  /** @param {ProgressState} state */
  #renderHeader(state) {
    const name = connectionName(state);
    mark(this.#connection, "data-state", name);
    mark(this.#connection, "title", state.connection.problem?.detail || null);
    this.#icon.show(CONNECTION_SHAPES[name]);
    write(this.#word, this.#words.connection[name]);
    this.#renderTotals(state);
  }

  /** @param {ProgressState} state */
  #renderTotals({ connection, feed, totals, jobs }) {
    const words = this.#words;
    const isKnown = jobs.length > 0 && totals !== null && feed !== "lost";
    const isLive = isKnown && connection.state === "live";
    write(this.#active, isLive && totals.active > 0 ? words.active(totals.active) : "");
    if (isLive && totals.total > 0) {
      write(
        this.#sums,
        `${words.count(totals.completed, totals.total)} · ${words.percentage(totals.percentage)}`,
      );
    } else {
      write(this.#sums, isKnown && !isLive ? words.stale(connection.since) : "");
    }
  }

  /**
   * What stands where the jobs would be. Only a service that answers can say that there are none.
   * @param {ProgressState} state
   */
  #emptiness(state) {
    if (isCurrent(state)) return this.#words.empty;
    const { problem } = state.connection;
    return problem?.detail || problem?.title || this.#words.connection[connectionName(state)];
  }

  /** @param {ProgressState} state @param {boolean} isLater Whether something was shown before. */
  #renderJobs({ jobs, ...rest }, isLater) {
    const current = isCurrent({ jobs, ...rest });
    const staying = new Set(jobs.map(({ id }) => id));
    const leaving = [...this.#rows].filter(([id]) => !staying.has(id));
    const arriving = jobs.filter(({ id }) => !this.#rows.has(id));
    const isGentle = isLater && leaving.length + arriving.length <= MOVES_MAX;
    for (const [id, row] of leaving) {
      this.#rows.delete(id);
      row.leave(isGentle);
    }
    let next = standing(this.#list.firstElementChild);
    for (const job of jobs) {
      const known = this.#rows.get(job.id);
      const row = known ?? new Row(this.#words);
      row.render(job, current);
      if (row.element === next) next = standing(next.nextElementSibling);
      else this.#list.insertBefore(row.element, next);
      if (!known) this.#rows.set(job.id, row.arrive(isGentle));
    }
  }
}

/** *element*, or the first after it that is not on its way out. @param {Element | null} element */
function standing(element) {
  while (element?.hasAttribute("data-leaving")) element = element.nextElementSibling;
  return element;
}
