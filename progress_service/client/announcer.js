/**
 * What is said aloud to people who listen to the page: the start of a job, each quarter, its end. One polite
 * live region; it speaks at most every ten seconds, and at most six times of a job.
 */

import { isFinished } from "./store.js";
import { labelOf, make, mark, write } from "./parts.js";
import { learn } from "./texts.js";

/** @import {Change, Follower, Host} from "./element.js" */
/** @import {Job} from "./types.d.ts" */

learn({
  started: "{label} has started",
  reached: "{label}: {percentage}",
  ended: "{label}: {status}, {count}",
  others: "and {n} more",
});

const PAUSE_MS = 10_000;
/** More jobs than this in one breath are only counted. */
const BREATH = 3;

/**
 * Several elements of one page that show the same jobs speak with one voice: that of the first.
 * @type {Map<string, Set<Host>>}
 */
const speakers = new Map();

/** @param {Host} host @returns {Follower} */
export function follow(host) {
  const { element, root, language, signal } = host;
  const key = ["src", "user-id", "demo"].map((name) => element.getAttribute(name)).join("\n");
  const same = speakers.get(key) ?? new Set();
  speakers.set(key, same.add(host));
  const region = make("div", "unseen");
  mark(region, "role", "status");
  root.append(region);

  /** What waits to be said, the newest of each job. @type {Map<string, string>} */
  const waiting = new Map();
  /** The last quarter that was told of each job. @type {Map<string, number>} */
  const told = new Map();
  let timer = 0;
  let spokeAt = -PAUSE_MS;

  const speak = () => {
    timer = 0;
    if (waiting.size === 0) return;
    spokeAt = performance.now();
    const texts = [...waiting.values()];
    const rest = texts.splice(BREATH);
    if (rest.length > 0) texts.push(language.say("others", { n: rest.length }));
    waiting.clear();
    write(region, texts.join(". "));
  };
  /** @param {string} id @param {string} text */
  const say = (id, text) => {
    waiting.delete(id);
    waiting.set(id, text);
    timer ||= setTimeout(speak, Math.max(0, spokeAt + PAUSE_MS - performance.now()));
  };
  // An answer to what a person just did does not wait.
  host.announce = (text) => write(region, text);
  signal.addEventListener("abort", () => {
    clearTimeout(timer);
    same.delete(host);
    region.remove();
  });

  return (changes, { jobs }) => {
    if (same.values().next().value !== host) return;
    for (const [job, before] of changes) {
      const quarter = isFinished(job) ? 4 : Math.min(3, Math.floor(job.percentage / 25));
      const last = told.get(job.id) ?? (before ? quarterOf(before) : null);
      told.set(job.id, quarter);
      // What was there when the page opened is no news.
      if (last === null && (!isNew(job) || changes.length > BREATH)) continue;
      if (last === null || quarter > last) say(job.id, news(job, last === null, language));
    }
    if (told.size > jobs.length)
      for (const id of told.keys()) if (!jobs.some((job) => job.id === id)) told.delete(id);
  };
}

/** @param {Job} job */
const quarterOf = (job) => (isFinished(job) ? 4 : Math.min(3, Math.floor(job.percentage / 25)));

/** @param {Job} job */
const isNew = (job) => !isFinished(job) && job.percentage < 25;

/** @param {Job} job @param {boolean} isStart @param {Host["language"]} language */
function news(job, isStart, language) {
  const label = labelOf(job, language);
  if (isStart) return language.say("started", { label });
  if (!isFinished(job))
    return language.say("reached", { label, percentage: language.percentage(job.percentage) });
  const text = language.say("ended", {
    label,
    status: language.say(job.status),
    count: language.count(job.progress),
  });
  return job.status === "failed" && job.error ? `${text}. ${job.error}` : text;
}
