/** What a press in a row does: it asks something of the job, or opens what belongs to the button. */

import { Panel as Question } from "./confirm.js";
import { mark } from "./parts.js";

/** @import {Row} from "./row.js" */
/** @import {Command} from "./types.d.ts" */

/**
 * Do what a button is for: ask what it names of the job, after the question whether people are sure of a cancel; or
 * open the batches, which name nothing.
 * @param {Row} row
 * @param {HTMLButtonElement} opener
 */
export async function press(row, opener) {
  const command = /** @type {Command | ""} */ (opener.value);
  if (command && command !== "cancel") return ask(row, command);
  if (close(row, opener)) return opener.focus();
  const { Panel } = command ? { Panel: Question } : await import("./batches.js");
  const job = row.job();
  if (!job || row.panels.has(opener)) return;
  const panel = new Panel(row.host, job, (answer) => {
    // Who is elsewhere by now, when the job has ended meanwhile, is not called back.
    const hadFocus = row.element.matches(":focus-within");
    close(row, opener);
    if (answer) ask(row, answer);
    else if (hadFocus) opener.focus();
  });
  row.panels.set(opener, panel);
  mark(opener, { "aria-expanded": "true" });
  row.element.append(panel.element);
  panel.render(job);
}

/** Whether there was something to close. @param {Row} row @param {HTMLElement} opener */
function close({ panels }, opener) {
  mark(opener, { "aria-expanded": "false" });
  panels.get(opener)?.element.remove();
  return panels.delete(opener);
}

/** Ask something of the job, and say why if that is refused. @param {Row} row @param {Command} command */
async function ask({ host, job, refuse }, command) {
  const refused = await host.ask(command, job()?.id ?? "");
  if (!refused?.isOurs) return;
  const { title = String(refused.error), detail } = refused.problem ?? {};
  refuse(host.language.say(command), detail || title);
}
