/** What a developer sees with `?progress-debug` in the address: the stream, and buttons that disturb it. */

import { adopt, button } from "./buttons.js";
import { make, sheet, write } from "./parts.js";
import { learn } from "./texts.js";

/** @import {Follower, Host} from "./session.js" */

learn({ stream: "Stream", drop: "Drop connection", stall: "Stall", endToken: "End token" });

const LINES_MAX = 60;
const DATA_CHARACTERS = 160;

/** @param {Host} host @returns {Follower} */
export function follow({ root, watch, signal, language }) {
  const debug = watch?.debug;
  if (!debug) return () => {};
  const status = make("dl", "debug-status");
  const log = make("ol", "debug-log");
  const acts = /** @type {const} */ (["drop", "stall", "endToken"]);
  const buttons = acts.map((act) => button("plain", () => debug[act](), language.say(act)));
  const panel = make(
    "details",
    "debug",
    make("summary", "debug-title", language.say("stream")),
    status,
    make("div", "debug-buttons", ...buttons),
    log,
  );
  /** @type {HTMLDetailsElement} */ (panel).open = true;
  log.tabIndex = 0;
  log.setAttribute("role", "log");
  log.setAttribute("aria-label", "Events");
  log.setAttribute("aria-live", "off");
  root.append(panel);
  adopt(panel, styles);

  const stop = debug.listen(({ event, data, from }) => {
    const text = JSON.stringify(data) ?? "";
    const line = make(
      "li",
      "debug-line",
      `${new Date().toISOString().slice(11, 23)} ${from} `,
      make("b", "debug-event", event),
    );
    line.append(` ${text.slice(0, DATA_CHARACTERS)}${text.length > DATA_CHARACTERS ? "…" : ""}`);
    log.prepend(line);
    if (log.childElementCount > LINES_MAX) log.lastElementChild?.remove();
  });
  signal.addEventListener("abort", () => {
    stop();
    panel.remove();
  });

  return (_, { connection, feed, jobs }) => {
    const { lastEventId, latencyMs } = debug.status();
    const facts = {
      Connection: `${connection.state} (${feed})`,
      Role: /** @type {{role?: string}} */ (connection).role ?? "alone",
      "Last id": lastEventId || "none",
      Latency: latencyMs === null ? "unknown" : `${Math.round(latencyMs)} ms`,
      Jobs: String(jobs.length),
    };
    Object.entries(facts).forEach(([name, value], index) => {
      const pair =
        status.children[index] ??
        make("div", "debug-fact", make("dt", "debug-name", name), make("dd", "debug-value"));
      if (!pair.parentElement) status.append(pair);
      write(/** @type {Element} */ (pair.lastElementChild), value);
    });
  };
}

const styles = sheet(/* css */ `
.debug {
  margin-block-start: 0.5rem;
  padding: 0.5rem 0.75rem;
  border: 1px dashed var(--_muted);
  border-radius: 0.5rem;
  background: var(--_surface);
  color: var(--_ink);
  font: 0.75rem/1.5 ui-monospace, monospace;
  white-space: normal;
}
.debug-title { cursor: pointer; font-weight: 600; min-block-size: 24px; }
.debug-status { display: flex; flex-wrap: wrap; gap: 0 1.25rem; margin: 0; }
.debug-fact { display: flex; gap: 0.4em; }
.debug-name { color: var(--_muted); }
.debug-value { margin: 0; }
.debug-buttons { display: flex; flex-wrap: wrap; gap: 0.375rem; margin-block: 0.375rem; }
.debug .button {
  padding: 0.125rem 0.5rem;
  border: 1px solid var(--_border);
  border-radius: 0.375rem;
  background: none;
  color: inherit;
  font: inherit;
  min-block-size: 24px;
  cursor: pointer;
}
.debug-log {
  max-block-size: 12rem;
  margin: 0;
  padding: 0;
  overflow: auto;
  list-style: none;
  overflow-wrap: anywhere;
}
.debug-event { color: var(--_running); font-weight: 600; }
`);
