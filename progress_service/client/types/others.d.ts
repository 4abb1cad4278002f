/**
 * What the tabs of a group say to each other. Who arrives asks for the leader's present state; there is no replay.
 *
 * A leader that is frozen keeps its lock. So a follower that somebody looks at wants an answer once a
 * heartbeat, and takes the lock away from a leader that has missed two.
 *
 * Every small form loads this same file, so it imports nothing.
 */
/** @import {Act, View} from "./types.d.ts" */
/** @import {Group} from "./tabs.js" */
/** @import {Stream} from "./watch.js" */
/** @typedef {ReturnType<typeof others>} Others */
/**
 * What a leader says. `view` is how much it knows; `to` is the one it is meant for, if not all. A larger
 * `term` is a newer leader, so that one which thaws after it was followed is not believed.
 * @typedef {{term: number, view: View | null, id: string, event: string, data?: any, to?: string}} Said
 *
 * What a follower asks for: an answer, the present state, or something that a debug panel does.
 * @typedef {{from: string, view: View, isNew?: boolean, act?: Act}} Asked
 */
/**
 * The other tabs of *mine*, as this one deals with them.
 * @param {Stream} stream
 * @param {Group} mine
 * @param {(mine: Group, options: LockOptions) => void} queue
 * @param {number} heartbeatMs
 */
export function others(stream: Stream, mine: Group, queue: (mine: Group, options: LockOptions) => void, heartbeatMs: number): {
    tell: (event: string, data?: any, to?: string) => void;
    request: (what: Partial<Asked>) => void;
    ask: () => void;
    /** @param {Said | Asked} message */
    take(message: Said | Asked): void;
    /** The page is looked at, or no longer. */
    look(): void;
    end(): void;
};
export type Others = ReturnType<typeof others>;
/**
 * What a follower asks for: an answer, the present state, or something that a debug panel does.
 */
export type Said = {
    term: number;
    view: View | null;
    id: string;
    event: string;
    data?: any;
    to?: string;
};
/**
 * What a leader says. `view` is how much it knows; `to` is the one it is meant for, if not all. A larger
 * `term` is a newer leader, so that one which thaws after it was followed is not believed.
 */
export type Asked = {
    from: string;
    view: View;
    isNew?: boolean;
    act?: Act;
};
import type { Stream } from "./watch.js";
import type { Group } from "./tabs.js";
import type { View } from "./types.d.ts";
import type { Act } from "./types.d.ts";
