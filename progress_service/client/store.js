/**
 * State from frames: what a page knows about one user's jobs. No DOM, no network, no clock.
 *
 * Frames are states and not deltas, so any of them may be missing when a newer one follows. A state is never
 * changed: what did not change is the same object as before, down to a single job.
 */

/** @import {Command, ConnectionState, Job, ProgressState} from "./types.d.ts" */

/** @type {ProgressState} */
export const NOTHING_KNOWN = {
  connection: { state: "idle", since: 0, problem: null, role: "alone" },
  feed: "live",
  view: null,
  jobs: [],
  totals: null,
  skewMs: 0,
};

const FINISHED = ["completed", "failed", "cancelled"];

/** Whether nothing more is expected of the job. @param {Job} job */
export const isFinished = (job) => FINISHED.includes(job.status);

/**
 * The one job to show where there is room for one: the newest at work, else the newest.
 * @param {readonly Job[]} jobs
 */
export const latestJob = (jobs) => jobs.find((job) => !isFinished(job)) ?? jobs[0] ?? null;

/** Whether the figures of *state* can be taken for the present. @param {ProgressState} state */
export const isCurrent = (state) => state.connection.state === "live" && state.feed !== "lost";

/**
 * What each event says of the state.
 * @type {Record<string, (data: any, state: ProgressState) => Partial<ProgressState>>}
 */
const SAID = {
  snapshot: ({ jobs, totals, feed, skewMs = 0 }, state) => ({
    view: "full",
    jobs: replaced(state.jobs, jobs),
    totals,
    feed,
    skewMs,
  }),
  compact: ({ job, totals }, state) => ({
    view: "compact",
    jobs: replaced(state.jobs, job ? [job] : []),
    totals,
  }),
  job: (job, { jobs }) => ({ jobs: reported(jobs, job) }),
  removed: ({ id }, { jobs }) => ({ jobs: replaced(jobs, jobs.filter((job) => job.id !== id)) }),
  totals: (totals) => ({ totals }),
  feed: ({ state }) => ({ feed: state }),
  connection: (news, { connection }) => ({
    connection: { ...connection, ...news },
    // Who may not look any longer must not go on seeing.
    ...([401, 403].includes(news.problem?.status) && { jobs: NOTHING_KNOWN.jobs, totals: null }),
  }),
  // All that another tab knows, except for what that tab is to the others.
  state: ({ connection, jobs, ...rest }, state) => ({
    ...rest,
    jobs: replaced(state.jobs, jobs),
    connection: { ...connection, role: state.connection.role },
  }),
};

/**
 * The state after one event. An event that is unknown or no news gives the same state.
 * @param {ProgressState} state
 * @param {string} event
 * @param {any} data
 * @returns {ProgressState}
 */
export function reduce(state, event, data) {
  const next = { ...state, ...SAID[event]?.(data, state) };
  next.connection = newer(state.connection, next.connection);
  next.totals = newer(state.totals, next.totals);
  const names = /** @type {(keyof ProgressState)[]} */ (Object.keys(next));
  return names.every((name) => next[name] === state[name]) ? state : next;
}

/** A state that changes by events, and those who want to hear of it. Its methods may be passed on unbound. */
export class Store {
  /** What the service said. */
  known = NOTHING_KNOWN;
  /** The same, with what was asked for here. */
  #state = NOTHING_KNOWN;
  /** @type {Map<string, Command>} */
  #asked = new Map();
  /** @type {Set<() => void>} */
  #listeners = new Set();

  /** The state: the same object until something changes. */
  getSnapshot = () => this.#state;

  /**
   * Call *listener* after each change, until the function that this returns is called.
   * @param {() => void} listener
   */
  subscribe = (listener) => {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  };

  /** Take in one event. @param {string} event @param {any} data */
  apply = (event, data) => {
    const known = reduce(this.known, event, data);
    if (known !== this.known) this.#show(known);
  };

  /**
   * Show at once that *command* is asked for, until the function that this returns is called: with the job as
   * it then is, if that is known.
   * @param {string} id
   * @param {Command} command
   * @returns {(job?: Job) => void}
   */
  ask(id, command) {
    this.#asked.set(id, command);
    this.#show(this.known);
    return (job) => {
      // A later command for the same job stays until its own answer.
      if (this.#asked.get(id) === command) this.#asked.delete(id);
      const isHere = job && this.known.jobs.some((other) => other.id === id);
      this.#show(isHere ? reduce(this.known, "job", job) : this.known);
    };
  }

  /** @param {ProgressState} known */
  #show(known) {
    this.known = known;
    const shown = this.#asked.size > 0 ? replaced(this.#state.jobs, known.jobs.map(this.#overlaid)) : known.jobs;
    this.#state = shown === known.jobs ? known : { ...known, jobs: shown };
    for (const listener of this.#listeners) listener();
  }

  /** @param {Job} job */
  #overlaid = (job) => ({ ...job, requested: this.#asked.get(job.id) ?? job.requested });
}

/**
 * *after*, or *before* when they say the same.
 * @template T
 * @param {T} before
 * @param {T} after
 * @returns {T}
 */
const newer = (before, after) =>
  before === after || JSON.stringify(before) === JSON.stringify(after) ? before : after;

/** @param {readonly Job[]} jobs @param {readonly Job[]} found @returns {readonly Job[]} */
function replaced(jobs, found) {
  const known = new Map(jobs.map((job) => [job.id, job]));
  const next = found.map((job) => newer(known.get(job.id) ?? job, job));
  return next.length === jobs.length && next.every((job, index) => job === jobs[index]) ? jobs : next;
}

/** @param {readonly Job[]} jobs @param {Job} job @returns {readonly Job[]} */
function reported(jobs, job) {
  const index = jobs.findIndex(({ id }) => id === job.id);
  const before = jobs[index];
  if (!before) {
    const place = jobs.findIndex((other) => isNewer(job, other));
    return jobs.toSpliced(place < 0 ? jobs.length : place, 0, job);
  }
  // The same revision may be told anew: a job stalls, and its time left changes, without a write to its row.
  const isOld = job.revision < before.revision || newer(before, job) === before;
  return isOld ? jobs : jobs.with(index, job);
}

/** @param {Job} job @param {Job} other */
function isNewer(job, other) {
  return (Date.parse(job.created_at) - Date.parse(other.created_at) || (job.id > other.id ? 1 : -1)) > 0;
}
