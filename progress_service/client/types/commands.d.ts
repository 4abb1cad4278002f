/**
 * Send a command. *settle* is told how the job is, as soon as that is known.
 * @param {string} base
 * @param {GetToken | null} getToken
 * @param {string} id
 * @param {Command} command
 * @param {(job?: Job) => void} settle
 */
export function send(base: string, getToken: GetToken | null, id: string, command: Command, settle: (job?: Job) => void): Promise<void>;
/**
 * One page of finished jobs.
 * @param {string} base
 * @param {GetToken | null} getToken
 * @param {HistoryQuery} [query]
 * @returns {Promise<HistoryPage>}
 */
export function history(base: string, getToken: GetToken | null, query?: HistoryQuery): Promise<HistoryPage>;
/** What a person asked for was not done. `problem` says why. */
export class CommandFailed extends Error {
    /**
     * @param {Problem | undefined} problem There is none if the service could not be reached.
     * @param {Command | "history"} command
     * @param {string | null} [jobId]
     */
    constructor(problem: Problem | undefined, command: Command | "history", jobId?: string | null);
}
import type { GetToken } from "./types.d.ts";
import type { Command } from "./types.d.ts";
import type { Job } from "./types.d.ts";
import type { HistoryQuery } from "./types.d.ts";
import type { HistoryPage } from "./types.d.ts";
import type { Problem } from "./types.d.ts";
