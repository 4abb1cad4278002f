/** @import {Row} from "./row.js" */
/** @import {Command} from "./types.d.ts" */
/**
 * Do what a button is for: ask what it names of the job, after the question whether people are sure of a cancel; or
 * open the batches, which name nothing.
 * @param {Row} row
 * @param {HTMLButtonElement} opener
 */
export function press(row: Row, opener: HTMLButtonElement): Promise<void>;
import type { Row } from "./row.js";
