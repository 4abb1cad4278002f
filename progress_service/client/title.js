/** The percentage in the title of the page, so that it can be read from a row of tabs. */

import { isCurrent, isFinished } from "./store.js";

/** @import {Follower, Host} from "./session.js" */

/** The title as the page wants it, and as it was made of it here. */
let own = "";
let made = "";
/** Only one element writes there. @type {Host | null} */
let writer = null;

/** @param {Host} host @returns {Follower} */
export function follow(host) {
  writer ??= host;
  host.signal.addEventListener("abort", () => {
    if (writer !== host) return;
    writer = null;
    show(null);
  });
  return (_, state) => {
    if (writer !== null && writer !== host) return;
    writer = host;
    const { totals, jobs } = state;
    const isRunning =
      isCurrent(state) && totals !== null && totals.total > 0 && jobs.some((job) => !isFinished(job));
    show(isRunning ? host.language.percentage(totals.percentage) : null);
  };
}

/** @param {string | null} percentage */
function show(percentage) {
  // The page may have given itself another title meanwhile.
  if (document.title !== made) own = document.title;
  const wanted = percentage === null ? own : `${percentage} · ${own}`;
  if (document.title !== wanted) document.title = wanted;
  made = percentage === null ? "" : wanted;
}
