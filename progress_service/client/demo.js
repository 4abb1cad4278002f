/**
 * The element without a service: a scripted stream goes through the same store as a real one, so that a
 * designer sees it move before anything is set up. Scenes that are named stand still, with their own clock.
 */

import { Store } from "./store.js";
import { SCENE_NOW, job, scenes, snapshot } from "./scenes.js";

/** @import {Watch} from "./session.js" */
/** @import {Command, Job} from "./types.d.ts" */

const FRAME_MS = 250;
const BATCHES = 12;
const BATCH = 40;
const CONTACTS_A_SECOND = 24;
/** A finished job stays as long as the service would keep it; then all begins anew. */
const LINGER_MS = 5_000;
const REST_MS = 2_000;

const REFUSAL = { status: 409, title: "Too late", detail: "The job has ended meanwhile." };

/**
 * Begin to play.
 * @param {string} name Of a scene; any other name is a job from its start to its end.
 * @returns {Watch}
 */
export function play(name) {
  const store = new Store();
  const still = Object.hasOwn(scenes, name) ? scenes[name] : null;
  const player = still ? null : new Player(store);
  still?.forEach(([event, data]) => store.apply(event, data));

  /** @param {Command} command */
  const ask = (command) => async (/** @type {string} */ id) => {
    const found = store.getSnapshot().jobs.find((each) => each.id === id);
    if (found) store.apply("job", { ...found, requested: command });
    if (name === "refusing") {
      await new Promise((resolve) => setTimeout(resolve, FRAME_MS));
      store.apply("job", found);
      throw Object.assign(new Error(REFUSAL.title), { problem: REFUSAL });
    }
    player?.ask(command);
  };

  return {
    getSnapshot: store.getSnapshot,
    subscribe: store.subscribe,
    now: () => (still ? SCENE_NOW : Date.now()),
    pause: ask("pause"),
    resume: ask("resume"),
    cancel: ask("cancel"),
    history: async (query) => past(Number(query?.before), query?.status),
    release: () => player?.stop(),
    useToken() {},
    retry() {},
  };
}

/** A job that begins, goes on, ends, and begins anew. */
class Player {
  #store;
  #timer;
  #done = 0;
  #revision = 1;
  #began = Date.now();
  /** @type {Job["status"]} */
  #status = "running";
  #ended = 0;
  #id = 0;

  /** @param {Store} store */
  constructor(store) {
    this.#store = store;
    store.apply("connection", { state: "live", since: Date.now(), problem: null });
    store.apply("snapshot", snapshot([this.#view()]));
    this.#timer = setInterval(() => this.#step(), FRAME_MS);
  }

  stop() {
    clearInterval(this.#timer);
  }

  /** What a worker would do. @param {Command} command */
  ask(command) {
    setTimeout(() => {
      if (command === "cancel") this.#end("cancelled");
      else this.#status = command === "pause" ? "paused" : "running";
      this.#tell();
    }, 3 * FRAME_MS);
  }

  #step() {
    const rest = Date.now() - this.#ended;
    if (this.#ended > 0 && rest > LINGER_MS + REST_MS) return this.#begin();
    if (this.#ended > 0) return void (rest > LINGER_MS && this.#leave());
    if (this.#status !== "running") return;
    const wave = 1 + Math.sin(this.#done / 50) / 3;
    this.#done = Math.min(BATCHES * BATCH, this.#done + (CONTACTS_A_SECOND * wave * FRAME_MS) / 1_000);
    if (this.#done === BATCHES * BATCH) this.#end("completed");
    this.#tell();
  }

  /** @param {Job["status"]} status */
  #end(status) {
    this.#status = status;
    this.#ended = Date.now();
  }

  #leave() {
    this.#store.apply("removed", { id: `demo-${this.#id}` });
    this.#store.apply("totals", snapshot([]).totals);
  }

  #begin() {
    this.#id++;
    this.#done = this.#ended = 0;
    this.#began = Date.now();
    this.#status = "running";
    this.#tell();
  }

  #tell() {
    const view = this.#view();
    this.#store.apply("job", view);
    this.#store.apply("totals", snapshot([view]).totals);
  }

  #view() {
    const counted = Math.floor(this.#done);
    const left = (BATCHES * BATCH - counted) / CONTACTS_A_SECOND;
    const isRunning = this.#status === "running";
    return job({
      id: `demo-${this.#id}`,
      status: this.#status,
      counted,
      batches: BATCHES,
      batch: BATCH,
      rate: isRunning ? CONTACTS_A_SECOND : null,
      eta_seconds: isRunning ? left : null,
      eta_range: isRunning ? [left * 0.8, left * 1.3] : null,
      started_at: new Date(this.#began).toISOString(),
      created_at: new Date(this.#began).toISOString(),
      finished_at: this.#ended ? new Date(this.#ended).toISOString() : null,
      revision: this.#revision++,
    });
  }
}

/** Three pages of what has ended, or those of a page that have this status. @param {number} before @param {string | null} [asked] */
function past(before, asked) {
  const from = before || 24;
  const jobs = Array.from({ length: Math.min(10, from) }, (_, index) => {
    const number = from - index;
    const status = number % 7 === 0 ? "failed" : number % 5 === 0 ? "cancelled" : "completed";
    const finished = SCENE_NOW - (25 - number) * 5_400_000;
    return {
      ...job({
        id: `past-${number}`,
        label: `contacts-${String(number).padStart(2, "0")}.csv`,
        status,
        counted: status === "completed" ? 480 : number * 15,
        error: status === "failed" ? "The mail server did not answer." : null,
        finished_at: new Date(finished).toISOString(),
      }),
      duration_seconds: 60 + number * 7,
      ended_by: /** @type {"user" | "worker"} */ (status === "cancelled" ? "user" : "worker"),
    };
  });
  const next = from > 10 ? String(from - 10) : null;
  return { jobs: jobs.filter(({ status }) => !asked || status === asked), next };
}
