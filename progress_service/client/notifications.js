/**
 * A notification of the system when a job ends: only where a person has allowed it by a click, once for each
 * job over all tabs, silent, and never for a job that had ended before the page was opened.
 */

import { isFinished } from "./store.js";
import { failuresOf, labelOf, make, mark, write } from "./parts.js";
import { learn } from "./texts.js";

/** @import {Follower, Host} from "./session.js" */
/** @import {Job} from "./types.d.ts" */

learn({
  notify: "Notify me",
  notified: "Notifications are on",
  unnotified: "Notifications are blocked by the browser",
});

/** @param {Host} host @returns {Follower} */
export function follow(host) {
  const { root, language, signal } = host;
  // There are none outside of a secure context, nor on some telephones.
  if (!("Notification" in globalThis)) return () => {};
  const footer = root.querySelector(".footer");
  const opener = make("button", "notify-button button", language.say("notify"));
  mark(opener, { type: "button" });
  opener.onclick = ask;
  if (Notification.permission === "default") footer?.append(opener);
  signal.addEventListener("abort", () => opener.remove());

  async function ask() {
    const answer = await Notification.requestPermission();
    if (answer === "default") return;
    host.announce(language.say(answer === "granted" ? "notified" : "unnotified"));
    write(opener, language.say(answer === "granted" ? "notified" : "unnotified"));
    mark(opener, { disabled: true });
  }

  return (changes) => {
    if (Notification.permission !== "granted") return;
    for (const [job, before] of changes)
      if (before && isFinished(job) && !isFinished(before)) claim(job, host);
  };
}

/**
 * Notify, unless another tab does. Whoever gets the job's lock does, and keeps it as long as the page lives,
 * so that a tab that was asleep meanwhile is too late.
 * @param {Job} job @param {Host} host
 */
function claim(job, host) {
  const name = `progress-notification ${job.id}`;
  navigator.locks.request(name, { ifAvailable: true }, (lock) => {
    if (lock === null) return;
    show(job, name, host);
    return new Promise(() => {});
  });
}

/** @param {Job} job @param {string} tag @param {Host} host */
function show(job, tag, { language }) {
  const body = [language.say(job.status), language.count(job.progress), failuresOf(job, language)];
  const notification = new Notification(labelOf(job, language), {
    body: job.error ?? body.filter(Boolean).join(" · "),
    tag,
    silent: true,
    lang: language.tag,
  });
  notification.onclick = () => {
    focus();
    notification.close();
  };
}
