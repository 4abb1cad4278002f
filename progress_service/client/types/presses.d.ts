/** @import {PanelClass, Row} from "./row.js" */
/** @import {Command} from "./types.d.ts" */
/**
 * Do what a button is for: open *module* below the job, ask whether people are sure of *command*, or send it.
 * @param {Row} row
 * @param {HTMLElement} opener
 * @param {Command} [command]
 * @param {Promise<{Panel: PanelClass}>} [module]
 */
export function press(row: Row, opener: HTMLElement, command?: Command, module?: Promise<{
    Panel: PanelClass;
}>): Promise<void>;
import type { Row } from "./row.js";
import type { Command } from "./types.d.ts";
import type { PanelClass } from "./row.js";
