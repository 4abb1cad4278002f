/** Begin what the attributes of *element* ask for now. @param {EnrichmentProgressBar} element @param {ShadowRoot} root */
export function begin(element: EnrichmentProgressBar, root: ShadowRoot): {
    end: () => void;
    /** @param {GetToken} getToken */
    useToken: (getToken: GetToken) => void | undefined;
    ask: (command: Command, id: string) => Promise<Refusal | undefined>;
};
/**
 * A scene has its own clock.
 */
export type Watch = Omit<Watched, "debug"> & {
    debug?: Debug;
    now?: () => number;
};
export type Change = readonly [job: Job, before: Job | null];
/**
 * What follows the jobs besides the view. It hears every change, also while the page is hidden.
 */
export type Follower = (changes: readonly Change[], state: ProgressState) => void;
export type Part = {
    follow: (host: Host) => Follower;
};
export type Speaker = (news: readonly Change[]) => void;
export type View = {
    element: HTMLElement;
    render: (state: ProgressState, now: number) => void;
};
/**
 * What the parts know of the element that they belong to. `ask` asks something of a job; `announce` speaks to
 * those who listen; `signal` ends all.
 */
export type Refusal = {
    error: unknown;
    problem: Problem | null;
    isOurs: boolean;
};
/**
 * Why a command was refused. It is ours to say so, unless the page has: then it prevents the event's default.
 */
export type Host = {
    element: EnrichmentProgressBar;
    root: ShadowRoot;
    language: Language;
    watch: Watch | null;
    signal: AbortSignal;
    renderSoon: () => void;
    ask: (command: Command, id: string) => Promise<Refusal | undefined>;
    announce: (text: string) => void;
};
import type { EnrichmentProgressBar } from "./element.js";
import type { GetToken } from "./types.d.ts";
import type { Command } from "./types.d.ts";
import type { Watch as Watched } from "./types.d.ts";
import type { Debug } from "./types.d.ts";
import type { Job } from "./types.d.ts";
import type { ProgressState } from "./types.d.ts";
import type { Problem } from "./types.d.ts";
import type { Language } from "./texts.js";
