/**
 * This tab among those that share a stream. It is in no group yet. This takes a secure context.
 * @param {Stream} stream
 * @param {number} [heartbeatMs]
 */
export function gather(stream: Stream, heartbeatMs?: number): {
    leave: () => void;
    isFollower: () => boolean | null;
    /** As leader, tell the others. @param {string} event @param {any} data */
    tell: (event: string, data: any) => void | undefined;
    /** As follower, have the leader do something. @param {Partial<Asked>} what */
    request: (what: Partial<Asked>) => void | undefined;
    /** The page is looked at, or no longer. */
    look: () => void | undefined;
    /** Whether this tab leads the group *name*. @param {string} name */
    leads: (name: string) => false | ((value?: any) => void) | undefined;
    /** Follow the leader of the group *name*, until this tab leads, or has to do without the others. @param {string} name */
    follow(name: string): Promise<void>;
};
export type Tabs = ReturnType<typeof gather>;
/**
 * The lock and the channel of one name. Who leads can `release` the lock. A larger `term` is a newer leader.
 */
export type Group = {
    name: string;
    channel: BroadcastChannel;
    term: number;
    granted: Promise<unknown>;
    grant: (value?: any) => void;
    release?: ((value?: any) => void) | undefined;
    /**
     * The lock was there for the taking, or was not.
     */
    tried?: Promise<unknown> | undefined;
    others?: {
        tell: (event: string, data?: any, to?: string) => void;
        request: (what: Partial<Asked>) => void;
        ask: () => void;
        take(message: Said | Asked): void;
        look(): void;
        end(): void;
    } | undefined;
};
import type { Stream } from "./watch.js";
import type { Asked } from "./others.js";
