export class Connection {
    /**
     * @param {string} base Address of the service, ending in a slash.
     * @param {string} name What the page calls the user.
     * @param {(event: string, data: any) => void} apply Takes each event, and a `connection` event for each
     * change here.
     */
    constructor(base: string, name: string, apply: (event: string, data: any) => void);
    /** Asked for a bearer token at every attempt. Without it the cookie counts. @type {GetToken | null} */
    getToken: GetToken | null;
    /** Those to share the stream with. @type {Tabs | null} */
    tabs: Tabs | null;
    /** How much the stream is to tell. @type {View} */
    view: View;
    lastEventId: string;
    /** From the opening of the stream to its first event. @type {number | null} */
    latencyMs: number | null;
    get isLive(): boolean;
    /** Whether another tab's stream is heard. */
    get isFollower(): boolean;
    /** Open the stream, or open it anew for another view. @param {View} view */
    open(view: View): void;
    /** Wait no longer for a better moment. */
    nudge(): void;
    /** Make a new attempt now, whatever the present one is at. */
    reopen(): void;
    close(): void;
    /** For a debug panel: as if the network broke. */
    drop(): void;
    /** For a debug panel: the stream stays open, and nothing comes any more. */
    stall(): void;
    /** For a debug panel: have the service refuse the stream as it does when a token has ended. */
    endToken(): void;
    #private;
}
import type { GetToken } from "./types.d.ts";
import type { Tabs } from "./tabs.js";
import type { View } from "./types.d.ts";
