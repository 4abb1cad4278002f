/**
 * The JSON that the service answers with; or why there is none. Who could not be reached has no why.
 * @param {string} url
 * @param {GetToken | null} getToken Gives the bearer token; without it the session's cookie counts.
 * @param {RequestInit} [init]
 * @returns {Promise<[said?: any, problem?: Problem]>}
 */
export function answer(url: string, getToken: GetToken | null, init?: RequestInit): Promise<[said?: any, problem?: Problem]>;
import type { GetToken } from "./types.d.ts";
import type { Problem } from "./types.d.ts";
