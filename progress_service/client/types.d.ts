/** What the service tells (see the stream's protocol) and what the page makes of it. */

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
  readonly requested: "pause" | "resume" | "cancel" | null;
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
}

/** How the service stands with its database. */
export type Feed = "live" | "degraded" | "lost";

/** All that a page knows. Never changed, only replaced, and only where something is new. */
export interface ProgressState {
  readonly connection: ConnectionState;
  readonly feed: Feed;
  /** The newest first. A compact stream tells of one at most. */
  readonly jobs: readonly Job[];
  readonly totals: Totals | null;
}

/** How much of a user's jobs a stream tells. */
export type View = "full" | "compact";

/** Gives a bearer token for the service; null when nobody is signed in. */
export type GetToken = () => Promise<string | null> | string | null;
