/**
 * The JSON that the service answers with; or null, and why there is none. Who could not be reached has no
 * why.
 * @param {URL} url
 * @param {GetToken | null} getToken Gives the bearer token; without it the session's cookie counts.
 * @param {RequestInit} [init]
 * @returns {Promise<[any, null] | [null, Problem | null]>}
 */
export function answer(url: URL, getToken: GetToken | null, init?: RequestInit): Promise<[any, null] | [null, Problem | null]>;
import type { GetToken } from "./types.d.ts";
import type { Problem } from "./types.d.ts";
