/** The full view: a card with the totals, how the connection stands, and a row for every job. */

import { isCurrent } from "./store.js";
import { time } from "./moments.js";
import { SHAPES, icon, make, mark, spans, styles, write } from "./parts.js";
import { cardStyles } from "./card-styles.js";
import { rowOf } from "./row.js";
import { connectionName, learn } from "./texts.js";

/** @import {Host} from "./session.js" */
/** @import {Job, ProgressState, Totals} from "./types.d.ts" */

learn({
  title: "Enrichment jobs",
  empty: "No jobs are running",
  active: "{n} active",
  since: "Last update {time}",
});

SHAPES.live = "M8 6a2 2 0 1 1 0 4 2 2 0 0 1 0-4z";

/** More arrivals or departures at once than this happen without ceremony. */
const MOVES_MAX = 12;
/** More rows than this are not made in one frame: the page would stand still for it. */
const NEW_ROWS_MAX = 40;

/** @param {Host} host */
export function view(host) {
  const { language, renderSoon } = host;
  const { say } = language;
  const picture = icon();
  const [active, sums, word] = spans("active", "sums", "word");
  const link = make("span", "connection", picture.element, word);
  const list = make("ul", "list");
  const empty = make("p", "empty");
  /** Buttons that a page has asked for. */
  const footer = make("div", "footer");
  const title = say("title");
  const header = make("div", "header", make("span", "title", title), make("span", "totals", active, sums), link);
  const element = make("div", "card", header, make("div", "body", list, empty), footer);
  /** @type {Map<string, ReturnType<typeof rowOf>>} */
  const rows = new Map();
  /** @type {ProgressState | null} */
  let shown = null;

  mark(element, { role: "group", "aria-label": title });
  // What a press takes is there before it, if there is a pointer or a keyboard to announce it.
  for (const type of ["pointerover", "focusin"]) list.addEventListener(type, preload, { once: true });
  // Without it, Safari does not take a list without bullets for one.
  mark(list, { role: "list" });

  /** @param {ProgressState} state @param {number} now */
  function render(state, now) {
    const current = isCurrent(state);
    if (state !== shown) renderFrame(state, current);
    renderJobs(state.jobs, current, now);
    shown = state;
  }

  /** All but the jobs. @param {ProgressState} state @param {boolean} current */
  function renderFrame(state, current) {
    const { connection, feed, jobs, totals } = state;
    const { problem } = connection;
    const name = connectionName(state);
    mark(element, { "data-stale": !current });
    mark(link, { "data-state": name, title: problem?.detail });
    picture.show(name);
    write(word, say(name));
    // Only a service that answers can say that there are no jobs.
    write(empty, current ? say("empty") : problem?.detail || say(name));
    mark(empty, { "data-shown": jobs.length === 0 });
    const known = jobs.length > 0 && feed !== "lost" ? totals : null;
    const isLive = connection.state === "live";
    const count = known && isLive ? known.active : 0;
    write(active, count > 0 && say("active", { n: count }));
    const since = { time: time(connection.since, language) };
    write(sums, known && (isLive ? sumsOf(known) : say("since", since)));
  }

  /** @param {Totals} totals */
  const sumsOf = ({ completed, total, percentage }) =>
    total > 0 &&
      `${say("of", { done: completed, n: total })} · ${language.percentage(percentage)}`;

  /** @param {readonly Job[]} jobs @param {boolean} current @param {number} now */
  function renderJobs(jobs, current, now) {
    if (jobs !== shown?.jobs) removeAllBut(jobs);
    const isGentle = shown !== null && jobs.length - rows.size <= MOVES_MAX;
    let room = NEW_ROWS_MAX;
    let next = standing(list.firstElementChild);
    for (const job of jobs) {
      const known = rows.get(job.id);
      if (!known && room-- === 0) return renderSoon();
      const row = known ?? rowOf(host);
      row.render(job, current, now);
      if (row.element === next) next = standing(next.nextElementSibling);
      else list.insertBefore(row.element, next);
      if (!known && isGentle) row.arrive();
      rows.set(job.id, row);
    }
  }

  /** @param {readonly Job[]} jobs */
  function removeAllBut(jobs) {
    const staying = new Set(jobs.map(({ id }) => id));
    const leaving = [...rows].filter(([id]) => !staying.has(id));
    for (const [id, row] of leaving) {
      rows.delete(id);
      row.leave(leaving.length <= MOVES_MAX);
    }
  }

  return { element, render };
}

export const sheets = [styles, cardStyles];

const preload = () => void import("./presses.js").catch(() => {});

/** *element*, or the first after it that is not on its way out. @param {Element | null} element */
function standing(element) {
  while (element?.hasAttribute("data-leaving")) element = element.nextElementSibling;
  return element;
}
