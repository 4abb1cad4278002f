/**
 * What is said aloud to people who listen to the page: the start of a job, each quarter, its end. One polite
 * live region; it speaks at most every ten seconds, and at most six times of a job. It is loaded with the first
 * news, since most pages are left before there are any.
 */

import { isFinished } from "./store.js";
import { labelOf } from "./parts.js";
import { learn } from "./texts.js";

/** @import {Change, Host, Speaker} from "./session.js" */
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
/** A job that is new to the page and past this has not started just now. */
const START_PERCENTAGE_MAX = 25;

/** Several elements of one page that show the same jobs speak with one voice. @type {Map<string, Host>} */
const speakers = new Map();

/** @param {Host} host @returns {Speaker} */
export function speaker(host) {
  const { element, language, signal } = host;
  const key = [element.src, element.userId, element.demo].join("\n");

  /** What waits to be said, the newest of each job. @type {Map<string, string>} */
  const waiting = new Map();
  let timer = 0;
  let spokeAt = -PAUSE_MS;

  function speak() {
    timer = 0;
    spokeAt = performance.now();
    const texts = [...waiting.values()];
    const rest = texts.splice(BREATH).length;
    if (rest > 0) texts.push(language.say("others", { n: rest }));
    waiting.clear();
    host.announce(texts.join(". "));
  }
  signal.addEventListener("abort", () => {
    clearTimeout(timer);
    if (speakers.get(key) === host) speakers.delete(key);
  });

  return (news) => {
    if (signal.aborted) return;
    if (!speakers.has(key)) speakers.set(key, host);
    if (speakers.get(key) !== host) return;
    for (const [job, before] of news) {
      if (!before && (news.length > BREATH || isFinished(job) || job.percentage >= START_PERCENTAGE_MAX)) continue;
      waiting.delete(job.id);
      waiting.set(job.id, said(job, !before, language));
      timer ||= setTimeout(speak, Math.max(0, spokeAt + PAUSE_MS - performance.now()));
    }
  };
}

/** @param {Job} job @param {boolean} isStart @param {Host["language"]} language */
function said(job, isStart, language) {
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
