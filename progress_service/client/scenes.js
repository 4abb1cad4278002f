/**
 * Recorded streams: each state of a job and of the connection, as the service tells it. The gallery shows
 * them.
 */

/** @import {Job, ProgressState, Totals} from "./types.d.ts" */

/** The moment at which the scenes stand still. */
export const SCENE_NOW = Date.parse("2025-06-02T10:05:30Z");

/**
 * @typedef {Partial<Job> & {counted?: number, batches?: number, batch?: number, total?: number, failed?:
 * number}} Draft
 */

/**
 * A job's view. `counted` contacts are done or failed, of `batches` times `batch`, unless there is a `total`.
 * @param {Draft} draft
 * @returns {Job}
 */
export function job({ counted = 178, batches = 12, batch = 40, total = batches * batch, failed, ...rest }) {
  const parts = Array.from({ length: batches }, (_, index) => {
    const reached = Math.max(0, Math.min(batch, counted - index * batch));
    const bad = index % 3 === 1 ? Math.floor(reached / 12) : 0;
    return { batch: index + 1, total: batch, completed: reached - bad, failed: bad };
  });
  const bad = failed ?? parts.reduce((sum, part) => sum + part.failed, 0);
  const completed = counted - bad;
  return {
    id: "a",
    label: "contacts-june.csv",
    status: "running",
    requested: null,
    progress: {
      total,
      completed,
      failed: bad,
      current_batch: Math.min(batches, Math.floor(counted / batch) + 1),
      ...(total > 0 && { total_batches: batches, batches: parts }),
    },
    percentage: total > 0 ? Math.round((100 * completed) / total) : 0,
    rate: null,
    eta_seconds: null,
    eta_range: null,
    stalled: false,
    error: null,
    created_at: "2025-06-02T10:03:58Z",
    started_at: "2025-06-02T10:03:58Z",
    updated_at: "2025-06-02T10:05:30Z",
    finished_at: null,
    revision: 1,
    ...rest,
  };
}

/**
 * @param {readonly Job[]} jobs
 * @returns {{jobs: readonly Job[], totals: Totals, feed: ProgressState["feed"]}}
 */
export function snapshot(jobs) {
  /** @param {"total" | "completed" | "failed"} name */
  const sum = (name) => jobs.reduce((sum, { progress }) => sum + progress[name], 0);
  const [total, completed] = [sum("total"), sum("completed")];
  return {
    jobs,
    totals: {
      active: jobs.filter(({ status }) => ["pending", "running", "paused"].includes(status)).length,
      total,
      completed,
      failed: sum("failed"),
      percentage: total > 0 ? Math.round((100 * completed) / total) : 0,
      eta_seconds: null,
    },
    feed: "live",
  };
}

/** @typedef {readonly [event: string, data: object]} Frame */

const LIVE = /** @type {Frame} */ (["connection", { state: "live", since: SCENE_NOW, problem: null }]);
const ended = { finished_at: "2025-06-02T10:05:28Z" };
const moving = { rate: 3.4, eta_seconds: 150, eta_range: /** @type {[number, number]} */ ([140, 160]) };

/** @param {...Draft} drafts @returns {Frame[]} */
const live = (...drafts) => [LIVE, ["snapshot", snapshot(drafts.map(job))]];

/** @param {object} connection @param {Draft[]} drafts @param {string} [feed] @returns {Frame[]} */
const cut = (connection, drafts, feed = "live") => [
  ...live(...drafts),
  ["feed", { state: feed }],
  ["connection", { since: SCENE_NOW - 42_000, problem: null, ...connection }],
];

const running = { ...moving };
const several = [
  { id: "e", label: "contacts-june.csv", ...moving },
  {
    id: "d",
    label: "Fair in Lyon.xlsx",
    counted: 912,
    batches: 30,
    rate: 0.4,
    eta_seconds: 720,
    eta_range: /** @type {[number, number]} */ ([480, 1100]),
  },
  { id: "c", label: "Partners Benelux", status: /** @type {const} */ ("paused"), counted: 96 },
  {
    id: "b",
    label: "Newsletter sign-ups",
    status: /** @type {const} */ ("completed"),
    counted: 480,
    ...ended,
  },
];

/** @type {Record<string, Frame[]>} */
export const scenes = {
  pending: live({ status: "pending", counted: 0, started_at: null }),
  running: live(running),
  counting: live({ total: 0, batches: 0, counted: 1_234, rate: 12, failed: 0 }),
  unsure: live({ rate: 3.4, eta_seconds: 150, eta_range: [100, 320] }),
  pausing: live({ ...moving, requested: "pause" }),
  paused: live({ status: "paused" }),
  resuming: live({ status: "paused", requested: "resume" }),
  cancelling: live({ ...moving, requested: "cancel" }),
  stalled: live({ stalled: true }),
  completed: live({ status: "completed", counted: 480, ...ended }),
  failed: live({ status: "failed", error: "The mail server did not answer for five minutes.", ...ended }),
  cancelled: live({ status: "cancelled", ...ended }),
  several: live(...several),
  long: live({
    ...moving,
    label: "An_export_with_a_very_long_name_that_nobody_would_ever_type_by_hand_2025-06-02_final_v3.csv",
    counted: 1_234_567,
    batches: 50,
    batch: 50_000,
  }),
  refusing: live(running),
  empty: live(),
  connecting: [["connection", { state: "connecting", since: SCENE_NOW - 2_000, problem: null }]],
  reconnecting: cut({ state: "reconnecting" }, [running]),
  degraded: cut({ state: "live" }, [running], "degraded"),
  lost: cut({ state: "live" }, [running], "lost"),
  refused: cut(
    {
      state: "refused",
      problem: {
        status: 503,
        title: "Restarting",
        detail: "The service restarts. It will be back in a minute.",
      },
    },
    [running],
  ),
  signedOut: cut({ state: "refused", problem: { status: 401, title: "Signed out", detail: "" } }, [running]),
};
