/** The demo's page: a session, the two bars, and what is around them. */

import { watch } from "/client/watch.js";
import { isFinished } from "/client/store.js";
import { showResults } from "./results.js";
import { acceptUploads, say } from "./upload.js";

const THEME = "progress-demo-theme";
const LATE_MS = 400;

followTheme();
try {
  const { user_id } = await begin();
  for (const bar of document.querySelectorAll("enrichment-progress-bar"))
    bar.setAttribute("user-id", user_id);
  showEmbedding(user_id);
  acceptUploads(showResults);
  refetchAfterEach(user_id);
  stayHere(user_id);
} catch (error) {
  say(`The demo did not start: ${error instanceof Error ? error.message : error}`, "error");
}

/** Sign in as the demo's user, by a cookie. @returns {Promise<{user_id: string}>} */
async function begin() {
  const response = await fetch("/demo/session");
  if (!response.ok) throw new Error(`the service answered ${response.status}.`);
  return response.json();
}

/** Fetch the results whenever a job came, ended or went. @param {string} userId */
function refetchAfterEach(userId) {
  const { getSnapshot, subscribe } = watch({ userId });
  let before = "";
  const look = async () => {
    const { jobs } = getSnapshot();
    const now = jobs.map((job) => job.id + isFinished(job)).join();
    if (now === before) return;
    before = now;
    // A worker reports that its job is done a moment before it ends, and only then is there something to
    // download.
    const ended = new Set(jobs.filter(isFinished).map(({ id }) => id));
    const results = await showResults();
    const isLate = results.some(({ id, status }) => status === "running" && ended.has(id));
    if (isLate) {
      before = "";
      setTimeout(look, LATE_MS);
    }
  };
  subscribe(look);
  showResults();
}

/** The demo's sessions end with the demo. When it was started anew, sign in anew. @param {string} userId */
function stayHere(userId) {
  const { getSnapshot, subscribe, retry } = watch({ userId });
  let refusedSince = 0;
  subscribe(async () => {
    const { since, problem } = getSnapshot().connection;
    if (problem?.status !== 401 || since === refusedSince) return;
    refusedSince = since;
    await begin();
    retry();
  });
}

function followTheme() {
  /** @param {string} theme */
  const use = (theme) => {
    document.documentElement.dataset.theme = theme;
  };
  const saved = localStorage.getItem(THEME) ?? "system";
  use(saved);
  for (const choice of /** @type {NodeListOf<HTMLInputElement>} */ (
    document.querySelectorAll(".theme input")
  )) {
    choice.checked = choice.value === saved;
    choice.addEventListener("change", () => {
      use(choice.value);
      localStorage.setItem(THEME, choice.value);
    });
  }
}

/** The lines that put the bar on another page. @param {string} userId */
function showEmbedding(userId) {
  const code = /** @type {HTMLElement} */ (document.getElementById("embed-code"));
  code.textContent =
    `<script type="module" src="${location.origin}/client/enrichment-progress-bar.js"></script>\n` +
    `<enrichment-progress-bar user-id="${userId}" compact></enrichment-progress-bar>`;
}
