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
};

const FINISHED = new Set(["completed", "failed", "cancelled"]);

/** Whether nothing more is expected of the job. @param {Job} job */
export const isFinished = (job) => FINISHED.has(job.status);

/**
 * The one job to show where there is room for one: the newest at work, else the newest.
 * @param {readonly Job[]} jobs
 */
export const latestJob = (jobs) => jobs.find((job) => !isFinished(job)) ?? jobs[0] ?? null;

/** Whether the figures of *state* can be taken for the present. @param {ProgressState} state */
export const isCurrent = (state) => state.connection.state === "live" && state.feed !== "lost";

/**
 * The state after one event. An event that is unknown or no news gives the same state.
 * @param {ProgressState} state
 * @param {string} event
 * @param {any} data
 * @returns {ProgressState}
 */
export function reduce(state, event, data) {
  switch (event) {
    case "snapshot":
      return changed(state, {
        view: "full",
        jobs: replaced(state.jobs, data.jobs),
        totals: newer(state.totals, data.totals),
        feed: data.feed,
      });
    case "compact":
      return changed(state, {
        view: "compact",
        jobs: replaced(state.jobs, data.job ? [data.job] : []),
        totals: newer(state.totals, data.totals),
      });
    case "job":
      return changed(state, { jobs: reported(state.jobs, data) });
    case "removed":
      return changed(state, { jobs: without(state.jobs, data.id) });
    case "totals":
      return changed(state, { totals: newer(state.totals, data) });
    case "feed":
      return changed(state, { feed: data.state });
    case "connection":
      return connectionChanged(state, data);
    case "role":
      return connectionChanged(state, { role: data });
    case "state":
      return changed(connectionChanged(state, { ...data.connection, role: state.connection.role }), {
        feed: data.feed,
        view: data.view,
        jobs: replaced(state.jobs, data.jobs),
        totals: newer(state.totals, data.totals),
      });
    default:
      return state;
  }
}

/** A state that changes by events, and those who want to hear of it. Its methods may be passed on unbound. */
export class Store {
  /** What the service said. */
  known = NOTHING_KNOWN;
  /** The same, with what was asked for here. */
  #state = NOTHING_KNOWN;
  /** @type {Map<string, Command>} */
  #asked = new Map();
  /** @type {WeakMap<Job, Job>} */
  #overlaid = new WeakMap();
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
      const isHere = this.known.jobs.some((other) => other.id === job?.id);
      this.#show(isHere ? reduce(this.known, "job", job) : this.known);
    };
  }

  /** @param {ProgressState} known */
  #show(known) {
    this.known = known;
    this.#state = this.#asked.size > 0 ? { ...known, jobs: known.jobs.map(this.#overlay) } : known;
    for (const listener of this.#listeners) listener();
  }

  /** @param {Job} job */
  #overlay = (job) => {
    const requested = this.#asked.get(job.id);
    if (!requested || requested === job.requested) return job;
    const shown = this.#overlaid.get(job);
    if (shown?.requested === requested) return shown;
    const next = { ...job, requested };
    this.#overlaid.set(job, next);
    return next;
  };
}

/** @param {ProgressState} state @param {Partial<ProgressState>} changes @returns {ProgressState} */
function changed(state, changes) {
  const names = /** @type {(keyof ProgressState)[]} */ (Object.keys(changes));
  return names.every((name) => state[name] === changes[name]) ? state : { ...state, ...changes };
}

/**
 * *after*, or *before* when they say the same.
 * @template T
 * @param {T} before
 * @param {T} after
 * @returns {T}
 */
function newer(before, after) {
  return JSON.stringify(before) === JSON.stringify(after) ? before : after;
}

/** @param {readonly Job[]} jobs @param {readonly Job[]} found @returns {readonly Job[]} */
function replaced(jobs, found) {
  const known = new Map(jobs.map((job) => [job.id, job]));
  const next = found.map((job) => newer(known.get(job.id) ?? job, job));
  return next.length === jobs.length && next.every((job, index) => job === jobs[index]) ? jobs : next;
}

/** @param {readonly Job[]} jobs @param {Job} job @returns {readonly Job[]} */
function reported(jobs, job) {
  const index = jobs.findIndex(({ id }) => id === job.id);
  if (index < 0) {
    const place = jobs.findIndex((other) => isNewer(job, other));
    return jobs.toSpliced(place < 0 ? jobs.length : place, 0, job);
  }
  const before = jobs[index];
  // The same revision may be told anew: a job stalls, and its time left changes, without a write to its row.
  const isOld = job.revision < before.revision;
  return isOld || (job.revision === before.revision && newer(before, job) === before)
    ? jobs
    : jobs.with(index, job);
}

/** @param {readonly Job[]} jobs @param {string} id */
function without(jobs, id) {
  return jobs.some((job) => job.id === id) ? jobs.filter((job) => job.id !== id) : jobs;
}

/** @param {Job} job @param {Job} other */
function isNewer(job, other) {
  return (Date.parse(job.created_at) - Date.parse(other.created_at) || (job.id > other.id ? 1 : -1)) > 0;
}

/**
 * Who may not look any longer must not go on seeing.
 * @param {ProgressState} state
 * @param {Partial<ConnectionState>} news
 */
function connectionChanged(state, news) {
  const connection = newer(state.connection, { ...state.connection, ...news });
  const isOut = news.problem?.status === 401 || news.problem?.status === 403;
  return changed(state, isOut ? { connection, jobs: NOTHING_KNOWN.jobs, totals: null } : { connection });
}
