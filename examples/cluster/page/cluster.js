/** The page that shows who serves it, and breaks parts of the cluster. */

const LOOK_MS = 500;
const rows = document.getElementById("parts");

/** Have a part of the cluster fail: `kill` or `freeze`. */
async function fail(how, name) {
  await fetch(`/demo/${how}/${encodeURIComponent(name)}`, { method: "POST", headers: { "X-Demo": "1" } });
}

function button(how, name) {
  const made = document.createElement("button");
  made.textContent = how === "kill" ? "Kill" : "Freeze";
  made.setAttribute("aria-label", `${made.textContent} ${name}`);
  made.addEventListener("click", () => fail(how, name));
  return made;
}

function row(name) {
  const made = rows.insertRow();
  made.dataset.name = name;
  made.insertCell().textContent = name;
  made.insertCell();
  const cell = made.insertCell();
  if (name !== "caddy") cell.append(button("kill", name), button("freeze", name));
  return made;
}

/** Draw how all parts do, and which edge answers this browser. */
async function look() {
  // The cookie leads this request to the edge that has the stream.
  const [state, answer] = await Promise.all([fetch("/demo/state"), fetch("/readyz")]);
  const { parts, edges } = await state.json();
  const serving = edges[answer.headers.get("X-Served-By")];
  document.getElementById("edge").textContent = serving ?? "nobody at the moment";
  const [entry] = performance.getEntriesByType("navigation");
  document.getElementById("protocol").textContent = { h2: "HTTP/2", h3: "HTTP/3" }[entry.nextHopProtocol] ?? entry.nextHopProtocol;
  for (const part of parts) {
    const drawn = rows.querySelector(`[data-name="${part.name}"]`) ?? row(part.name);
    drawn.dataset.state = part.state;
    drawn.toggleAttribute("data-yours", part.name === serving);
    drawn.cells[1].textContent = part.name === serving ? `${part.state}, serves you` : part.state;
  }
}

// The first answer brings the cookie by which Caddy keeps this browser at one edge.
await fetch("/readyz");
const token = async () => (await fetch("/demo/token")).text();
// With ?session the browser has a cookie of the service in place of a token of the page.
if (new URLSearchParams(location.search).has("session")) {
  await fetch("/v1/session", { method: "POST", headers: { Authorization: `Bearer ${await token()}` } });
} else {
  document.querySelector("enrichment-progress-bar").getToken = token;
}
await import("/client/enrichment-progress-bar.js");
for (;;) {
  await look().catch(() => {});
  await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
}
