/**
 * One stream for all tabs and windows of a browser: one of them leads, the others follow.
 *
 * Whoever holds the lock of a group leads, and says on the group's channel whatever its stream says. The
 * others queue for the lock, so that the browser itself names the next leader when a leader goes or crashes.
 * Nothing is elected here. Who arrives asks for the leader's present state; there is no replay.
 *
 * A leader that is frozen keeps its lock. So a follower that somebody looks at wants an answer once a
 * heartbeat, and takes the lock away from a leader that has missed two.
 */
/** @import {ProgressState, View} from "./types.d.ts" */
/**
 * What a leader says. `view` is how much it knows; `to` is the one it is meant for, if not all. A larger
 * `term` is a newer leader, so that one which thaws after it was followed is not believed.
 * @typedef {{term: number, view: View | null, id: string, event: string, data?: any, to?: string}} Said
 *
 * What a follower asks for: an answer, the present state, or something that a debug panel does.
 * @typedef {{from: string, view: View, isNew?: boolean, act?: "drop" | "stall" | "endToken"}} Asked
 *
 * What this tab is to the others.
 * @typedef {object} Here
 * @property {View} view How much this tab needs.
 * @property {string} lastEventId
 * @property {ProgressState} known
 * @property {(event: string, data: any, id?: string) => void} hear Takes what the leader says.
 * @property {(asked: Asked) => void} serve As leader, do what a follower asks for.
 * @property {() => void} deposed The lock was taken away.
 */
export const HEARTBEAT_MS: 15000;
export class Tabs {
    /** Whether browser and page have what it takes: a secure context, above all. */
    static arePossible(): boolean;
    /** @param {Here} here @param {number} [heartbeatMs] */
    constructor(here: Here, heartbeatMs?: number);
    /** From asking the leader for its state to its answer. @type {number | null} */
    latencyMs: number | null;
    /** Whether this tab leads the group *name*. @param {string} name */
    leads(name: string): boolean;
    get isLeader(): boolean;
    get isFollower(): boolean;
    /** Follow the leader of the group *name*, until this tab leads. @param {string} name */
    follow(name: string): Promise<void>;
    /** Neither lead nor follow any longer. */
    leave(): void;
    /** As leader, tell the others. @param {string} event @param {any} [data] @param {string} [to] */
    tell(event: string, data?: any, to?: string): void;
    /** As follower, have the leader do something. @param {Partial<Asked>} what */
    request(what: Partial<Asked>): void;
    /** The page is looked at, or no longer. */
    look(): void;
    #private;
}
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
 * What this tab is to the others.
 */
export type Asked = {
    from: string;
    view: View;
    isNew?: boolean;
    act?: "drop" | "stall" | "endToken";
};
/**
 * What a leader says. `view` is how much it knows; `to` is the one it is meant for, if not all. A larger
 * `term` is a newer leader, so that one which thaws after it was followed is not believed.
 */
export type Here = {
    /**
     * How much this tab needs.
     */
    view: View;
    lastEventId: string;
    known: ProgressState;
    /**
     * Takes what the leader says.
     */
    hear: (event: string, data: any, id?: string) => void;
    /**
     * As leader, do what a follower asks for.
     */
    serve: (asked: Asked) => void;
    /**
     * The lock was taken away.
     */
    deposed: () => void;
};
import type { View } from "./types.d.ts";
import type { ProgressState } from "./types.d.ts";
