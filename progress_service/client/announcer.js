/**
 * What is said aloud to people who listen to the page: the start of a job, each quarter, its end. One polite
 * live region; it speaks at most every ten seconds, and at most six times of a job.
 */

import { isFinished } from "./store.js";
import { labelOf, make, mark, write } from "./parts.js";

/** @import {Change, Follower, Host} from "./session.js" */
/** @import {Job} from "./types.d.ts" */

const PAUSE_MS = 10_000;
/** More jobs than this in one breath are only counted. */
const BREATH = 3;

/** Several elements of one page that show the same jobs speak with one voice. @type {Map<string, Host>} */
const speakers = new Map();

/** @param {Host} host @returns {Follower} */
export function follow(host) {
  const { element, root, language, signal } = host;
  const key = [element.src, element.userId, element.demo].join("\n");
  const region = make("div", "unseen");
  mark(region, { role: "status" });
  root.append(region);

  /** What waits to be said, the newest of each job. @type {Map<string, string>} */
  const waiting = new Map();
  let timer = 0;
  let spokeAt = -PAUSE_MS;
  let wasKnown = false;

  function speak() {
    timer = 0;
    spokeAt = performance.now();
    const texts = [...waiting.values()];
    const rest = texts.splice(BREATH).length;
    if (rest > 0) texts.push(language.say("others", { n: rest }));
    waiting.clear();
    write(region, texts.join(". "));
  }
  // An answer to what a person just did does not wait.
  host.announce = (text) => write(region, text);
  signal.addEventListener("abort", () => {
    clearTimeout(timer);
    if (speakers.get(key) === host) speakers.delete(key);
    region.remove();
  });

  return (changes, { view }) => {
    // What was there when the page opened is no news.
    const isFirst = !wasKnown;
    wasKnown = view !== null;
    if (!speakers.has(key)) speakers.set(key, host);
    if (speakers.get(key) !== host) return;
    for (const [job, before] of changes) {
      const quarter = quarterOf(job);
      const isNews = before ? quarter > quarterOf(before) : quarter === 0 && changes.length <= BREATH;
      if (isFirst || !isNews) continue;
      waiting.delete(job.id);
      waiting.set(job.id, news(job, before === null, language));
      timer ||= setTimeout(speak, Math.max(0, spokeAt + PAUSE_MS - performance.now()));
    }
  };
}

/** @param {Job} job */
const quarterOf = (job) => (isFinished(job) ? 4 : Math.min(3, Math.floor(job.percentage / 25)));

/** @param {Job} job @param {boolean} isStart @param {Host["language"]} language */
function news(job, isStart, language) {
  const { status, error } = job;
  const name = isStart ? "started" : isFinished(job) ? "ended" : "reached";
  const text = language.say(name, {
    label: labelOf(job, language),
    percentage: language.percentage(job.percentage),
    status: language.say(status),
    count: language.count(job.progress),
  });
  return status === "failed" && error ? `${text}. ${error}` : text;
}
