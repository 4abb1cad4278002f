/** What a press in a row does: it asks something of the job, or opens what belongs to the button. */

import { Panel as Question } from "./confirm.js";
import { mark } from "./parts.js";

/** @import {PanelClass, Row} from "./row.js" */
/** @import {Command} from "./types.d.ts" */

/**
 * Do what a button is for: open *module* below the job, ask whether people are sure of *command*, or send it.
 * @param {Row} row
 * @param {HTMLElement} opener
 * @param {Command} [command]
 * @param {Promise<{Panel: PanelClass}>} [module]
 */
export async function press(row, opener, command, module) {
  if (command && command !== "cancel") return ask(row, command);
  if (row.close(opener)) return opener.focus();
  const Panel = module ? (await module).Panel : Question;
  const job = row.job();
  if (!job || row.panels.has(opener)) return;
  const panel = new Panel(row.host, job, (answer) => {
    row.close(opener);
    if (answer) ask(row, answer);
    else opener.focus();
  });
  row.panels.set(opener, panel);
  mark(opener, { "aria-expanded": "true" });
  row.element.append(panel.element);
  panel.render(job);
}

/** Ask something of the job, and say why if that is refused. @param {Row} row @param {Command} command */
async function ask({ host, job, refuse }, command) {
  const refused = await host.ask(command, job()?.id ?? "");
  if (!refused?.isOurs) return;
  const { title = String(refused.error), detail } = refused.problem ?? {};
  refuse(command, detail || title);
}
