/**
 * Begin to watch a user's jobs. `getSnapshot` and `subscribe` are those of a store; `release` ends it.
 * @param {WatchOptions} options
 * @returns {Watch}
 */
export function watch({ userId, src, compact, getToken, heartbeatMs }: WatchOptions): Watch;
/**
 * One user's stream, as the modules that make it up see it.
 */
export type Stream = {
    /**
     * Address of the service, ending in a slash.
     */
    base: string;
    /**
     * The same, with what the page calls the user.
     */
    key: string;
    /**
     * Asked at every attempt. Without it the cookie counts.
     */
    getToken: GetToken | null;
    /**
     * How much of the jobs is needed here.
     */
    view: View;
    store: Store;
    connection: Connection;
    lastEventId: string;
    /**
     * The service, or the tab that leads, is being asked for its state.
     */
    asking: () => void;
    /**
     * Take what the service says, or the tab that
     * leads, or a change here.
     */
    hear: (event: string, data: any, id?: string) => void;
    /**
     * As leader, do what a follower asks for.
     */
    serve: (asked: Asked) => void;
};
import type { WatchOptions } from "./types.d.ts";
import type { Watch } from "./types.d.ts";
import { CommandFailed } from "./commands.js";
import { isCurrent } from "./store.js";
import { isFinished } from "./store.js";
import { latestJob } from "./store.js";
import { NOTHING_KNOWN } from "./store.js";
import { Store } from "./store.js";
import type { GetToken } from "./types.d.ts";
import type { View } from "./types.d.ts";
import type { Connection } from "./connection.js";
import type { Asked } from "./others.js";
export { CommandFailed, isCurrent, isFinished, latestJob, NOTHING_KNOWN, Store };
