/**
 * The words and numbers that people read. English for now; another language is another object like this one.
 */

/** @import {Job, ProgressState} from "./types.d.ts" */
/** @typedef {typeof english} Texts */

const number = new Intl.NumberFormat("en");
const time = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" });

/** @param {number} total */
const contacts = (total) => (total === 1 ? "contact" : "contacts");

const english = {
  title: "Enrichment jobs",
  empty: "No jobs are running",
  unlabelled: "Untitled job",

  status: {
    pending: "Pending",
    running: "Running",
    paused: "Paused",
    completed: "Completed",
    failed: "Failed",
    cancelled: "Cancelled",
  },
  requested: { pause: "Pausing…", resume: "Resuming…", cancel: "Cancelling…" },

  connection: {
    idle: "Not signed in",
    connecting: "Connecting…",
    live: "Live",
    reconnecting: "Reconnecting…",
    refused: "Disconnected",
    signedOut: "Signed out",
    degraded: "Delayed",
    lost: "No updates",
  },

  /** @param {number} done @param {number} total 0 while nobody knows it. */
  count: (done, total) =>
    total > 0 ? `${number.format(done)} of ${number.format(total)}` : number.format(done),
  contacts,
  /** @param {number} count */
  failed: (count) => `${number.format(count)} failed`,
  /** @param {number} count */
  active: (count) => `${number.format(count)} active`,
  /** @param {number} percentage */
  percentage: (percentage) => `${percentage}%`,
  /** @param {number} milliseconds */
  stale: (milliseconds) => `Last update ${time.format(milliseconds)}`,

  /** All that the bar shows, for those who hear it. @param {Job} job @param {boolean} isCurrent */
  spoken: ({ progress: { total, completed, failed }, percentage }, isCurrent) =>
    [
      total > 0 ? `${percentage}%` : "",
      `${english.count(completed, total)} ${contacts(total)}`,
      failed > 0 ? english.failed(failed) : "",
      isCurrent ? "" : "not up to date",
    ]
      .filter(Boolean)
      .join(", "),
};

/** The texts in the language of a page's tag (BCP 47). @param {string} [_tag] @returns {Texts} */
export const texts = (_tag) => english;

/**
 * What to call the job's status: what was asked of it counts before what it still is.
 * @param {Job} job
 * @param {Texts} words
 */
export const statusText = (job, words) =>
  (job.requested && words.requested[job.requested]) || (words.status[job.status] ?? job.status);

/**
 * Which of the words for a connection says how far the figures can be trusted.
 * @param {ProgressState} state
 * @returns {keyof Texts["connection"]}
 */
export function connectionName({ connection, feed }) {
  if (connection.problem?.status === 401) return "signedOut";
  return connection.state === "live" ? feed : connection.state;
}
