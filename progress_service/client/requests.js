/**
 * What a page asks of the service besides the stream: one request, one answer, with the page's credential.
 */

/** @import {GetToken, Problem} from "./types.d.ts" */

const WAIT_MS_MAX = 15_000;

/**
 * The JSON that the service answers with; or null, and why there is none. Who could not be reached has no
 * why.
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
    const type = response.headers.get("Content-Type") ?? "";
    if (response.ok && type.includes("json")) return [await response.json(), null];
    if (!type.startsWith("text/event-stream")) return [null, await problemOf(response)];
    response.body?.cancel();
  } catch {
    // Neither a network that is away nor an answer that breaks off is a refusal.
  }
  return [null, null];
}

/** @param {Response} response @returns {Promise<Problem>} */
async function problemOf(response) {
  const { status, statusText, url, headers } = response;
  const said = await response.json().catch(() => ({}));
  return {
    title: statusText,
    detail: `${url} answered ${status}. Is it the address of the service?`,
    ...said,
    status,
    retryMs: 1_000 * (Number(headers.get("Retry-After")) || 0),
  };
}
