/** What became of the files of this session, with the enriched ones to download. */

/**
 * @typedef {object} Result
 * @property {string} id
 * @property {string} name
 * @property {"running" | "completed" | "failed"} status
 * @property {number} contacts
 * @property {number | null} completed Null until the worker has said so, as is `failed`.
 * @property {number | null} failed
 * @property {string | null} error
 * @property {{reason: string, count: number}[]} reasons
 * @property {string | null} download
 */

const list = /** @type {HTMLElement} */ (document.getElementById("results"));
const none = /** @type {HTMLElement} */ (document.getElementById("no-results"));
const template = /** @type {HTMLTemplateElement} */ (document.getElementById("result"));
const number = new Intl.NumberFormat("en");

/** @type {Map<string, HTMLElement>} */
const items = new Map();
/** @type {Promise<Result[]>} */
let fetching = Promise.resolve([]);

/** Fetch and show the results, one time after the other. Without a connection, what is shown stays. */
export function showResults() {
  fetching = fetching.then(async (before) => {
    const response = await fetch("/demo/results").catch(() => null);
    if (!response?.ok) return before;
    const { results } = await response.json();
    show(results);
    return results;
  });
  return fetching;
}

/** @param {Result[]} results */
function show(results) {
  none.hidden = results.length > 0;
  const known = new Set(results.map(({ id }) => id));
  for (const [id, item] of items) if (!known.has(id) && items.delete(id)) item.remove();
  list.append(...results.map(shown));
}

/** @param {Result} result */
function shown(result) {
  const item = items.get(result.id) ?? fresh();
  items.set(result.id, item);
  item.dataset.status = result.status;
  part(item, ".name").textContent = part(item, ".name").title = result.name;
  part(item, ".outcome").textContent = outcome(result);
  const link = /** @type {HTMLAnchorElement} */ (part(item, ".download"));
  link.hidden = result.download === null;
  if (result.download) link.href = result.download;
  link.ariaLabel = `Download the enriched ${result.name}`;
  showReasons(item, result);
  return item;
}

/** @param {Result} result */
function outcome({ status, contacts, completed, error }) {
  if (status === "running") return `${number.format(contacts)} contacts, in progress`;
  const counts = `${number.format(completed ?? 0)} of ${number.format(contacts)} contacts enriched`;
  return status === "failed" ? `Failed: ${error ?? "no reason was given"} (${counts})` : counts;
}

/** @param {HTMLElement} item @param {Result} result */
function showReasons(item, { failed, reasons, status }) {
  const details = part(item, "details");
  details.hidden = status === "running" || reasons.length === 0;
  part(item, "summary").textContent = `${number.format(failed ?? 0)} failed`;
  const lines = reasons.map(({ reason, count }) => {
    const line = document.createElement("li");
    const times = document.createElement("b");
    times.textContent = number.format(count);
    line.append(times, reason);
    return line;
  });
  part(item, "details ul").replaceChildren(...lines);
}

const fresh = () => /** @type {HTMLElement} */ (template.content.firstElementChild?.cloneNode(true));

/** @param {HTMLElement} item @param {string} selector */
const part = (item, selector) => /** @type {HTMLElement} */ (item.querySelector(selector));
