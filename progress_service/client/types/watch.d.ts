/**
 * Begin to watch a user's jobs. `getSnapshot` and `subscribe` are those of a store; `release` ends it.
 * @param {WatchOptions} options
 * @returns {Watch}
 */
export function watch({ userId, src, compact, getToken, heartbeatMs }: WatchOptions): Watch;
import type { WatchOptions } from "./types.d.ts";
import type { Watch } from "./types.d.ts";
import { CommandFailed } from "./commands.js";
import { isCurrent } from "./store.js";
import { isFinished } from "./store.js";
import { latestJob } from "./store.js";
import { NOTHING_KNOWN } from "./store.js";
import { Store } from "./store.js";
export { CommandFailed, isCurrent, isFinished, latestJob, NOTHING_KNOWN, Store };
