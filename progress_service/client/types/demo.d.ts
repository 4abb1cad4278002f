/**
 * Begin to play.
 * @param {string} name Of a scene; any other name is a job from its start to its end.
 * @returns {Watch}
 */
export function play(name: string): Watch;
import type { Watch } from "./session.js";
