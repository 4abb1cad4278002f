/**
 * The panel where a job begins: a file chosen, dropped or taken from the sample, and the pace of the work.
 */

const form = /** @type {HTMLFormElement} */ (document.getElementById("upload"));
const file = /** @type {HTMLInputElement} */ (form.elements.namedItem("file"));
const sample = /** @type {HTMLButtonElement} */ (document.getElementById("use-sample"));
const message = /** @type {HTMLElement} */ (document.getElementById("message"));
const slider = /** @type {HTMLInputElement} */ (document.getElementById("pace"));
const paceText = /** @type {HTMLOutputElement} */ (document.getElementById("pace-text"));

const PACE_MAX = 200;
const PACE_SETTLES_MS = 150;

/** Show one line at the panel. @param {string} text @param {"ok" | "error"} [kind] */
export function say(text, kind = "ok") {
  message.dataset.kind = kind;
  message.setAttribute("role", kind === "error" ? "alert" : "status");
  message.textContent = text;
}

/** Let people start jobs. @param {() => void} onStarted */
export function acceptUploads(onStarted) {
  file.addEventListener("change", () => file.files?.[0] && send(file.files[0]));
  sample.addEventListener("click", () => send(null));
  acceptDrops();
  followPace();

  /** @param {File | null} chosen Null is the sample. */
  async function send(chosen) {
    form.ariaBusy = "true";
    say(chosen ? `Uploading ${chosen.name}…` : "Starting…");
    try {
      const { name, contacts } = await upload(chosen);
      say(`Started: ${name}, ${contacts} ${contacts === 1 ? "contact" : "contacts"}.`);
      onStarted();
    } catch (error) {
      say(
        error instanceof TypeError
          ? "The service cannot be reached."
          : String(/** @type {Error} */ (error).message),
        "error",
      );
    } finally {
      form.ariaBusy = "false";
      file.value = "";
    }
  }

  function acceptDrops() {
    const panel = document.documentElement;
    /** @param {DragEvent} event */
    const hasFile = (event) => event.dataTransfer?.types.includes("Files") ?? false;
    panel.addEventListener("dragover", (event) => {
      if (!hasFile(event)) return;
      event.preventDefault();
      form.dataset.over = "";
    });
    panel.addEventListener("dragleave", (event) => event.relatedTarget === null && delete form.dataset.over);
    panel.addEventListener("drop", (event) => {
      event.preventDefault();
      delete form.dataset.over;
      const files = event.dataTransfer?.files ?? [];
      if (files.length > 1) say("One file at a time, please.", "error");
      else if (files.length === 1) send(files[0]);
    });
  }
}

/** @param {File | null} chosen @returns {Promise<{id: string, name: string, contacts: number}>} */
async function upload(chosen) {
  const body = chosen && new FormData();
  body?.append("file", /** @type {File} */ (chosen));
  const path = chosen ? "/demo/uploads" : "/demo/uploads/sample";
  const response = await fetch(`${path}?pace=${pace()}`, { method: "POST", body });
  const answer = await response.json().catch(() => ({}));
  if (!response.ok)
    throw new Error(answer.detail || answer.title || `The service answered ${response.status}.`);
  return answer;
}

/** Contacts a second. The slider is logarithmic, so that slow paces have room too. */
const pace = () => Math.round(PACE_MAX ** (Number(slider.value) / Number(slider.max)));

/** Show the pace, and tell the jobs that are running. */
function followPace() {
  let timer = 0;
  const show = () => {
    const text = `${pace()} ${pace() === 1 ? "contact" : "contacts"} a second`;
    paceText.textContent = slider.ariaValueText = text;
  };
  const tell = async () => {
    const body = JSON.stringify({ pace: pace() });
    const headers = { "Content-Type": "application/json" };
    const response = await fetch("/demo/pace", { method: "PUT", headers, body }).catch(() => null);
    if (!response?.ok) say("The pace of running jobs could not be changed.", "error");
  };
  show();
  slider.addEventListener("input", () => {
    show();
    clearTimeout(timer);
    timer = setTimeout(tell, PACE_SETTLES_MS);
  });
}
