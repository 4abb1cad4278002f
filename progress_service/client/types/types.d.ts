/** What the service tells (see the stream's protocol) and what the page makes of it. */

/** What a person may ask of a job. */
export type Command = "pause" | "resume" | "cancel";

export type Status = "pending" | "running" | "paused" | "completed" | "failed" | "cancelled";

/** Counts of contacts. A total of 0 is a total that nobody knows yet. A worker may add counts of its own. */
export interface Progress {
  readonly total: number;
  readonly completed: number;
  readonly failed: number;
  readonly current_batch: number;
  readonly [more: string]: unknown;
}

/** One job. Times are RFC 3339 in UTC, durations seconds, and null is what nobody can know. */
export interface Job {
  readonly id: string;
  readonly label: string | null;
  readonly status: Status;
  /** What a person asked for and the worker has yet to answer. */
  readonly requested: Command | null;
  readonly progress: Progress;
  readonly percentage: number;
  readonly rate: number | null;
  readonly eta_seconds: number | null;
  readonly eta_range: readonly [number, number] | null;
  readonly stalled: boolean;
  readonly error: string | null;
  readonly created_at: string;
  readonly started_at: string | null;
  readonly updated_at: string;
  readonly finished_at: string | null;
  /** Larger is newer. Nothing else orders two reports of one job. */
  readonly revision: number;
}

/** Sums over all of a user's jobs. */
export interface Totals {
  readonly active: number;
  readonly total: number;
  readonly completed: number;
  readonly failed: number;
  readonly percentage: number;
  readonly eta_seconds: number | null;
}

/** Why the service refused (RFC 9457). A status of 0 is a refusal that never reached it. */
export interface Problem {
  readonly status: number;
  readonly title: string;
  readonly detail: string;
  /** The least time to wait before another attempt, if the service said one. */
  readonly retryMs?: number;
  /** With a refused command: the job as it is. */
  readonly job?: Job;
  readonly [more: string]: unknown;
}

/** How the page stands with the service. */
export interface ConnectionState {
  /**
   * `idle` while there is no user to watch; `refused` when the service, or the page's `getToken`, said why
   * not.
   */
  readonly state: "idle" | "connecting" | "live" | "reconnecting" | "refused";
  /** Since when, in milliseconds as `Date.now()` has them. */
  readonly since: number;
  readonly problem: Problem | null;
  /** Whether this tab has the stream and tells the others, hears it from another one, or does not share. */
  readonly role: "leader" | "follower" | "alone";
}

/** How the service stands with its database. */
export type Feed = "live" | "degraded" | "lost";

/** All that a page knows. Never changed, only replaced, and only where something is new. */
export interface ProgressState {
  readonly connection: ConnectionState;
  readonly feed: Feed;
  /** Which stream `jobs` is from; null before the first answer. */
  readonly view: View | null;
  /** The newest first. A compact stream tells of one at most. */
  readonly jobs: readonly Job[];
  readonly totals: Totals | null;
  /** What to add to `Date.now()` for the service's time, in milliseconds; 0 until a full stream has told it. */
  readonly skewMs: number;
}

/** How much of a user's jobs a stream tells. */
export type View = "full" | "compact";

/** Gives a bearer token for the service; null when nobody is signed in. */
export type GetToken = () => Promise<string | null> | string | null;

export interface WatchOptions {
  /** Names the shared stream. What it tells is decided by the credential alone. */
  userId: string;
  /** Address of the service. Usually where this client was loaded from. */
  src?: string | null;
  /** One job and the totals are enough. */
  compact?: boolean;
  /** Gives a bearer token, at every attempt; without it the session's cookie counts. */
  getToken?: GetToken | null;
  /**
   * How long a leader may be silent, twice. For tests; 15,000 if left out. The first one of a page counts.
   */
  heartbeatMs?: number;
}

/** A user's jobs, watched. All functions may be passed on unbound. */
export interface Watch {
  /** The state: the same object until something changes. */
  getSnapshot(): ProgressState;
  /** Calls back after each change, until the function that this returns is called. */
  subscribe(listener: () => void): () => void;
  useToken(getToken: GetToken): void;
  /** Try again now, for instance after signing in. */
  retry(): void;
  /** Watch no longer. */
  release(): void;
  /** Each asks the service, and is shown in `job.requested` at once. Rejects with a `CommandFailed`. */
  pause(id: string): Promise<void>;
  resume(id: string): Promise<void>;
  cancel(id: string): Promise<void>;
  /** One page of the finished jobs, the newest first. Rejects with a `CommandFailed`. */
  history(query?: HistoryQuery): Promise<HistoryPage>;
  readonly debug: Debug;
}

export interface HistoryQuery {
  /** 1 to 100; 20 if left out. */
  limit?: number;
  /** The `next` of the page before. */
  before?: string | null;
  /** `completed`, `failed`, `cancelled`, or several with commas. */
  status?: string | null;
}

/** A finished job, and what only the history tells. */
export interface EndedJob extends Job {
  /** From its start to its end, pauses included. */
  readonly duration_seconds: number | null;
  readonly ended_by: "worker" | "user" | "reaper" | null;
}

export interface HistoryPage {
  readonly jobs: readonly EndedJob[];
  readonly next: string | null;
}

/** One event, as it came from the stream or from the tab that leads. */
export interface StreamEvent {
  readonly event: string;
  readonly data: any;
  readonly from: "stream" | "tab";
  readonly lastEventId: string;
}

/** How a debug panel disturbs the stream. */
export type Act = "drop" | "stall" | "endToken";

/** What a debug panel needs. The actions are on the real stream, whichever tab has it. */
export interface Debug {
  /** `latencyMs`: from opening the stream, or from asking the leading tab, to the first answer. */
  status(): { lastEventId: string; latencyMs: number | null };
  listen(listener: (event: StreamEvent) => void): () => void;
  /** As if the network broke. */
  drop(): void;
  /** Nothing comes any more, though the stream stays open. */
  stall(): void;
  /** The service refuses the stream as it does when a token has ended. */
  endToken(): void;
}

/** The element's properties that say the same as its attributes. They come from a table. */
declare module "./attributes.js" {
  interface Attributes {
    /** Names the user; null watches nobody. What is shown is decided by the credential alone. */
    userId: string | null;
    /** The address of the service; null is where this module came from. */
    src: string | null;
    /** `light`, `dark` or `system`; null follows the `color-scheme` of the page. */
    theme: string | null;
    /** A scene that plays without a service; "" is a job from its start to its end. */
    demo: string | null;
    /** One line instead of a card. */
    compact: boolean;
    /** Whether the line keeps its place while there is nothing to show. */
    reserve: boolean;
    /** Whether the card offers the jobs that have ended. */
    history: boolean;
    /** Whether people may be notified when a job ends. */
    notify: boolean;
    /** Whether the title of the page shows the percentage. */
    titleProgress: boolean;
  }
}
