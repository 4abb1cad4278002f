/**
 * What a page asks of the service besides the stream: one request, one answer, with the page's credential.
 */

/** @import {GetToken, Problem} from "./types.d.ts" */

const WAIT_MS_MAX = 15_000;

/**
 * The JSON that the service answers with; or why there is none. Who could not be reached has no why.
 * @param {string} url
 * @param {GetToken | null} getToken Gives the bearer token; without it the session's cookie counts.
 * @param {RequestInit} [init]
 * @returns {Promise<[said?: any, problem?: Problem]>}
 */
export async function answer(url, getToken, init) {
  let token;
  try {
    token = await getToken?.();
  } catch (error) {
    return [, { status: 0, title: "No token", detail: String(error) }];
  }
  if (getToken && !token) return [, { status: 401, title: "Signed out", detail: "There is no token." }];
  try {
    const response = await fetch(url, {
      signal: AbortSignal.timeout(WAIT_MS_MAX),
      ...init,
      headers: token ? { Authorization: `Bearer ${token}` } : {},
      credentials: token ? "omit" : "include",
      cache: "no-store",
    });
    const { status, statusText, headers } = response;
    const type = headers.get("Content-Type") ?? "";
    if (response.ok && type.includes("json")) return [await response.json()];
    if (!type.startsWith("text/event-stream")) {
      const problem = {
        title: statusText,
        detail: `${url} answered ${status}. Is it the address of the service?`,
        ...(await response.json().catch(() => ({}))),
        status,
        retryMs: 1_000 * (Number(headers.get("Retry-After")) || 0),
      };
      return [, problem];
    }
    response.body?.cancel();
  } catch {
    // Neither a network that is away nor an answer that breaks off is a refusal.
  }
  return [];
}
