/** What a person asks for: to pause, resume or cancel a job, and to see the finished ones. */

import { answer } from "./requests.js";

/** @import {Command, GetToken, HistoryPage, HistoryQuery, Job, Problem} from "./types.d.ts" */

/** @type {Problem} */
const UNREACHED = { status: 0, title: "Not reached", detail: "The service could not be reached." };

/** What a person asked for was not done. `problem` says why. */
export class CommandFailed extends Error {
  name = "CommandFailed";

  /**
   * @param {Problem | undefined} problem There is none if the service could not be reached.
   * @param {Command | "history"} command
   * @param {string | null} [jobId]
   */
  constructor(problem = UNREACHED, command, jobId = null) {
    super(`${problem.title}. ${problem.detail}`);
    Object.assign(this, { problem, command, jobId });
  }
}

/**
 * Send a command. *settle* is told how the job is, as soon as that is known.
 * @param {string} base
 * @param {GetToken | null} getToken
 * @param {string} id
 * @param {Command} command
 * @param {(job?: Job) => void} settle
 */
export async function send(base, getToken, id, command, settle) {
  const url = `${base}v1/jobs/${encodeURIComponent(id)}/${command}`;
  const [job, problem] = await answer(url, getToken, { method: "POST" });
  settle(job ?? problem?.job);
  if (!job) throw new CommandFailed(problem, command, id);
}

/**
 * One page of finished jobs.
 * @param {string} base
 * @param {GetToken | null} getToken
 * @param {HistoryQuery} [query]
 * @returns {Promise<HistoryPage>}
 */
export async function history(base, getToken, query = {}) {
  const asked = Object.entries(query).filter(([, value]) => value != null);
  const url = `${base}v1/history?${new URLSearchParams(asked)}`;
  const [page, problem] = await answer(url, getToken);
  if (!page) throw new CommandFailed(problem, "history");
  return page;
}
