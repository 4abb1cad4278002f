/**
 * A connection that is not open yet. The stream hears each event, and a `connection` event for each change
 * here.
 * @param {Stream} stream
 * @param {Tabs | undefined} tabs Those to share the stream with.
 */
export function connect(stream: Stream, tabs: Tabs | undefined): {
    reopen: () => void;
    nudge: () => void;
    /** Open the stream, or open it anew for another view. @param {View} view */
    open(view: View): void;
    close(): void;
    drop: () => void;
    stall: () => undefined;
    endToken: () => void;
};
export type Connection = ReturnType<typeof connect>;
import type { Stream } from "./watch.js";
import type { Tabs } from "./tabs.js";
import type { View } from "./types.d.ts";
