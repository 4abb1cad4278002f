/** @param {Host} host @returns {Speaker} */
export function speaker(host: Host): Speaker;
import type { Host } from "./session.js";
import type { Speaker } from "./session.js";
