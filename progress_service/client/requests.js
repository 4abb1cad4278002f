/** What a page asks of the service besides the stream: one request, one answer, with the page's credential. */

/** @import {Command, GetToken, Problem} from "./types.d.ts" */

const WAIT_MS_MAX = 15_000;

/** @type {Problem} */
const UNREACHED = { status: 0, title: "Not reached", detail: "The service could not be reached." };

/** The service, or the page's own `getToken`, said no. `problem` says why. */
export class RequestFailed extends Error {
  name = "RequestFailed";

  /** @param {Problem | null} problem Null if the service could not be reached. */
  constructor(problem) {
    super(problem ? `${problem.title}. ${problem.detail}` : UNREACHED.detail);
    this.problem = problem ?? UNREACHED;
  }
}

/** A job was not paused, resumed or cancelled. */
export class CommandFailed extends RequestFailed {
  name = "CommandFailed";

  /** @param {string} jobId @param {Command} command @param {Problem | null} problem */
  constructor(jobId, command, problem) {
    super(problem);
    this.jobId = jobId;
    this.command = command;
  }
}

/**
 * The JSON that the service answers with; or null, and why there is none. Who could not be reached has no why.
 * @param {URL} url
 * @param {GetToken | null} getToken Gives the bearer token; without it the session's cookie counts.
 * @param {RequestInit} [init]
 * @returns {Promise<[any, null] | [null, Problem | null]>}
 */
export async function answer(url, getToken, init) {
  /** @type {HeadersInit} */
  let headers = {};
  if (getToken) {
    let token;
    try {
      token = await getToken();
    } catch (error) {
      return [null, { status: 0, title: "No token", detail: String(error) }];
    }
    if (!token) return [null, { status: 401, title: "Signed out", detail: "There is no token." }];
    headers = { Authorization: `Bearer ${token}` };
  }
  try {
    const credentials = getToken ? "omit" : "include";
    const signal = AbortSignal.timeout(WAIT_MS_MAX);
    const response = await fetch(url, { signal, ...init, headers, credentials, cache: "no-store" });
    return response.ok ? [await response.json(), null] : [null, await problemOf(response)];
  } catch {
    return [null, null];
  }
}

/** @param {Response} response @returns {Promise<Problem>} */
export async function problemOf(response) {
  const said = await response.json().catch(() => ({}));
  return {
    ...said,
    status: response.status,
    title: String(said.title ?? response.statusText),
    detail: String(said.detail ?? `${response.url} answered like that. Is it the address of the service?`),
    retryMs: 1_000 * (Number(response.headers.get("Retry-After")) || 0),
  };
}
