/**
 * One stream from the service to this page: an EventSource, its credential, and what happens when it breaks.
 *
 * With the cookie the browser reconnects by itself (HTML standard, section 9.2.3). It gives up when it gets
 * an HTTP error, and it would use a ticket again that is over: in both cases a new attempt is made here.
 */

/** @import {ConnectionState, GetToken, Problem, View} from "./types.d.ts" */

const EVENTS = ["snapshot", "compact", "job", "removed", "totals", "feed", "expiring", "expired", "bye"];
const BACKOFF_FIRST_MS = 1_000;
const BACKOFF_MAX_MS = 30_000;
const RENEWAL_MS = 3_000;

export class Connection {
  /** Asked for a bearer token at every attempt. Without it the cookie counts. @type {GetToken | null} */
  getToken = null;

  #base;
  #apply;
  /** @type {View} */
  #view = "compact";
  /** Aborted when the present attempt, and all that hangs on it, is over. @type {AbortController | null} */
  #attempt = null;
  /** Aborted at the end. @type {AbortController | null} */
  #opened = null;
  /** @type {ConnectionState} */
  #state = { state: "idle", since: 0, problem: null };
  #failures = 0;
  /** The least time to wait that the service asked for. */
  #retryMs = 0;

  /**
   * @param {string} base Address of the service, ending in a slash.
   * @param {(event: string, data: any) => void} apply Takes each event, and a `connection` event for each
   * change here.
   */
  constructor(base, apply) {
    this.#base = base;
    this.#apply = apply;
  }

  /** Open the stream, or open it anew for another view. @param {View} view */
  open(view) {
    if (this.#opened && view === this.#view) return;
    this.#view = view;
    if (!this.#opened) {
      this.#opened = new AbortController();
      this.#watchPage(this.#opened.signal);
      this.#tell("connecting");
    }
    this.reopen();
  }

  /** Make a new attempt now, whatever the present one is at. */
  reopen() {
    if (!this.#opened) return;
    this.#attempt?.abort();
    this.#attempt = new AbortController();
    this.#try(this.#attempt.signal);
  }

  close() {
    this.#opened?.abort();
    this.#attempt?.abort();
    this.#opened = this.#attempt = null;
    this.#tell("idle");
  }

  /** @param {AbortSignal} signal */
  async #try(signal) {
    const url = new URL("v1/stream", this.#base);
    url.searchParams.set("view", this.#view);
    const withTicket = this.getToken !== null;
    if (withTicket) {
      const [ticket, problem] = await this.#ticket(signal);
      if (signal.aborted) return;
      if (ticket === null) return this.#retryLater(signal, problem);
      url.searchParams.set("ticket", ticket);
    }
    const source = new EventSource(url, { withCredentials: !withTicket });
    signal.addEventListener("abort", () => source.close());
    for (const name of EVENTS) source.addEventListener(name, (event) => this.#receive(name, event.data));
    source.addEventListener("error", async () => {
      if (source.readyState === EventSource.CLOSED) {
        const problem = await this.#refusal(url, signal);
        if (!signal.aborted) this.#retryLater(signal, problem);
      } else if (withTicket) {
        source.close();
        this.#retryLater(signal, null);
      } else {
        this.#tell("reconnecting", this.#state.problem);
      }
    });
  }

  /** @param {string} event @param {string} text */
  #receive(event, text) {
    let data;
    try {
      data = JSON.parse(text);
    } catch {
      return console.warn(`progress: the event “${event}” is not JSON and was left out`);
    }
    if (event === "bye") this.#retryMs = data.retry_ms;
    if (event === "expiring" && this.getToken) this.#renew();
    this.#apply(event, data);
    if (event === "snapshot" || event === "compact") {
      this.#failures = this.#retryMs = 0;
      this.#tell("live");
    }
  }

  /**
   * A token that is about to end is replaced before it does, so that nothing is missed; not at once, lest all
   * pages come at the same time, or one page again and again with the same token. A cookie is the page's to
   * renew.
   */
  #renew() {
    const timer = setTimeout(() => this.reopen(), RENEWAL_MS * (0.5 + Math.random()));
    this.#attempt?.signal.addEventListener("abort", () => clearTimeout(timer));
  }

  /**
   * A ticket, or null and why there is none.
   * @param {AbortSignal} signal
   * @returns {Promise<[string, null] | [null, Problem | null]>}
   */
  async #ticket(signal) {
    let token;
    try {
      token = await this.getToken?.();
    } catch (error) {
      return [null, { status: 0, title: "No token", detail: String(error) }];
    }
    if (!token) return [null, { status: 401, title: "Signed out", detail: "There is no token." }];
    try {
      const headers = { Authorization: `Bearer ${token}` };
      const url = new URL("v1/tickets", this.#base);
      const response = await fetch(url, { method: "POST", headers, credentials: "omit", signal });
      return response.ok ? [(await response.json()).ticket, null] : [null, await problemOf(response)];
    } catch {
      return [null, null];
    }
  }

  /**
   * Why the stream was refused. An EventSource does not tell, so the same address is asked once more.
   * @param {URL} url
   * @param {AbortSignal} signal
   * @returns {Promise<Problem | null>}
   */
  async #refusal(url, signal) {
    try {
      const credentials = this.getToken ? "same-origin" : "include";
      const headers = { Accept: "text/event-stream" };
      const response = await fetch(url, { credentials, headers, cache: "no-store", signal });
      if (!response.ok) {
        this.#retryMs = 1_000 * (Number(response.headers.get("Retry-After")) || 0);
        return await problemOf(response);
      }
      await response.body?.cancel();
      const type = response.headers.get("Content-Type") ?? "nothing";
      if (type.startsWith("text/event-stream")) return null;
      return { status: 200, title: "Not a progress service", detail: `${url.origin} answered with ${type}.` };
    } catch {
      return null;
    }
  }

  /** @param {AbortSignal} signal @param {Problem | null} problem */
  #retryLater(signal, problem) {
    this.#tell(problem ? "refused" : "reconnecting", problem);
    const most = Math.min(BACKOFF_FIRST_MS * 2 ** this.#failures++, BACKOFF_MAX_MS);
    const wait = Math.max(this.#retryMs, most * (0.5 + Math.random() / 2));
    const timer = setTimeout(() => this.reopen(), wait);
    this.#retryMs = 0;
    signal.addEventListener("abort", () => clearTimeout(timer));
  }

  /** @param {ConnectionState["state"]} state @param {Problem | null} problem */
  #tell(state, problem = null) {
    const before = this.#state;
    if (problem && problem.detail !== before.problem?.detail) {
      console.warn(`progress: ${this.#base} refused: ${problem.status} ${problem.title}. ${problem.detail}`);
    }
    this.#state = { state, since: state === before.state ? before.since : Date.now(), problem };
    this.#apply("connection", this.#state);
  }

  /**
   * The page knows better than a timer when it is worth trying. A page that is put aside (back-forward cache)
   * lets go of its stream, for the browser would end it, and takes it up again when it comes back.
   * @param {AbortSignal} signal
   */
  #watchPage(signal) {
    const retry = () => this.#state.state !== "live" && this.reopen();
    addEventListener("online", retry, { signal });
    document.addEventListener("visibilitychange", () => document.hidden || retry(), { signal });
    addEventListener("pagehide", () => (this.#attempt?.abort(), this.#tell("reconnecting")), { signal });
    addEventListener("pageshow", (event) => event.persisted && this.reopen(), { signal });
  }
}

/** @param {Response} response @returns {Promise<Problem>} */
async function problemOf(response) {
  const { title, detail } = await response.json().catch(() => ({}));
  return {
    status: response.status,
    title: String(title ?? response.statusText),
    detail: String(detail ?? ""),
  };
}
