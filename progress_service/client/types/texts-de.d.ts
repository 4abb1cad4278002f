/** The German words, loaded by pages that speak German. */
/** @import {Words} from "./languages.js" */
/** @type {Words} */
export const german: Words;
import type { Words } from "./languages.js";
