/**
 * This tab among those that share a stream. It is in no group yet. This takes a secure context.
 * @param {Stream} stream
 * @param {number} [heartbeatMs]
 */
export function gather(stream: Stream, heartbeatMs?: number): {
    tell: (event: string, data?: any, to?: string) => void;
    request: (what: Partial<Asked>) => void;
    leave: () => void;
    isFollower: () => boolean | null;
    /** Whether this tab leads the group *name*. @param {string} name */
    leads: (name: string) => false | ((value?: any) => void) | undefined;
    /** Follow the leader of the group *name*, until this tab leads. @param {string} name */
    follow(name: string): Promise<void>;
    /** The page is looked at, or no longer. */
    look(): void;
};
export type Tabs = ReturnType<typeof gather>;
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
 * The lock and the channel of one name. Who leads can `release` the lock.
 */
export type Asked = {
    from: string;
    view: View;
    isNew?: boolean;
    act?: Act;
};
/**
 * What a leader says. `view` is how much it knows; `to` is the one it is meant for, if not all. A larger
 * `term` is a newer leader, so that one which thaws after it was followed is not believed.
 */
export type Group = {
    name: string;
    channel: BroadcastChannel;
    waiting: AbortController;
    granted: Promise<unknown>;
    grant: (value?: any) => void;
    release?: ((value?: any) => void) | undefined;
};
import type { Stream } from "./watch.js";
import type { View } from "./types.d.ts";
import type { Act } from "./types.d.ts";
