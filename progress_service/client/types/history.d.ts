/** Offer the history below the card. @param {Host} host @returns {Follower} */
export function follow(host: Host): Follower;
import type { Host } from "./session.js";
import type { Follower } from "./session.js";
