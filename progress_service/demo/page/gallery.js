/**
 * The gallery: every state of the element, in the theme and the language that the address names. With
 * `?still`, the sample that moves is left out, so that two pictures of the page are the same.
 */

import { EnrichmentProgressBar } from "/client/enrichment-progress-bar.js";
import { arabic } from "./gallery-ar.js";

const JOBS = [
  "pending",
  "running",
  "unsure",
  "counting",
  "pausing",
  "paused",
  "resuming",
  "cancelling",
  "stalled",
  "completed",
  "failed",
  "cancelled",
  "refusing",
  "several",
  "long",
];
const CONNECTIONS = ["empty", "connecting", "degraded", "lost", "reconnecting", "refused", "signedOut"];
const LINES = [
  "running",
  "several",
  "counting",
  "paused",
  "stalled",
  "completed",
  "failed",
  "reconnecting",
  "refused",
  "long",
];
const SIZES = [120, 320, 640, 1200];
const RIGHT_TO_LEFT = new Set(["ar"]);

EnrichmentProgressBar.texts.set("ar", arabic);

const asked = new URLSearchParams(location.search);
const root = document.documentElement;
root.dataset.theme = asked.get("theme") ?? "system";
const lang = asked.get("lang") ?? "en";
choose();

const isStill = asked.has("still");
/** @type {HTMLElement} */ (place("moving").parentElement).hidden = isStill;
if (!isStill) place("moving").append(sample("", "play", { history: "", notify: "" }));
place("jobs").append(...JOBS.map((scene) => sample(scene, scene)));
place("connections").append(...CONNECTIONS.map((scene) => sample(scene, scene)));
place("lines").append(...LINES.map((scene) => sample(scene, scene, { compact: "" })));
place("sizes").append(
  ...SIZES.flatMap((width) => [
    sample(`${width} px`, "several", { history: "" }, width),
    sample(`${width} px, compact`, "several", { compact: "" }, width),
  ]),
);

/** @param {string} id */
function place(id) {
  return /** @type {HTMLElement} */ (document.getElementById(id));
}

/**
 * @param {string} name
 * @param {string} scene
 * @param {Record<string, string>} [attributes]
 * @param {number} [width]
 */
function sample(name, scene, attributes = {}, width) {
  const figure = document.createElement("figure");
  figure.className = width ? `piece w${width}` : "piece";
  const bar = document.createElement("enrichment-progress-bar");
  // The page itself stays English; its samples speak the language that was chosen.
  const all = { demo: scene, lang, dir: RIGHT_TO_LEFT.has(lang) ? "rtl" : "ltr", ...attributes };
  for (const [attribute, value] of Object.entries(all)) bar.setAttribute(attribute, value);
  const caption = document.createElement("figcaption");
  caption.textContent = name;
  figure.append(...(name ? [caption] : []), bar);
  return figure;
}

function choose() {
  const form = /** @type {HTMLFormElement} */ (document.getElementById("choices"));
  for (const field of /** @type {NodeListOf<HTMLSelectElement>} */ (form.querySelectorAll("select"))) {
    field.value = asked.get(field.name) ?? field.value;
    field.addEventListener("change", () => {
      asked.set(field.name, field.value);
      location.search = asked.toString();
    });
  }
}
