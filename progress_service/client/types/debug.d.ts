/** @param {Host} host @returns {Follower} */
export function follow({ root, watch, signal, language }: Host): Follower;
import type { Host } from "./element.js";
import type { Follower } from "./element.js";
