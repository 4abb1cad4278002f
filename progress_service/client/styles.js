/**
 * How the element looks. A page changes it by `--progress-…` properties and by `::part()`.
 *
 * The element follows the `color-scheme` of the page, so it stays light on a page that is light only; the
 * attribute `theme` overrules that. A constructed stylesheet needs no `unsafe-inline` in a Content-Security-
 * Policy.
 */

export const styles = new CSSStyleSheet();

styles.replaceSync(/* css */ `
:host {
  --_surface: var(--progress-surface, light-dark(#fff, #17191c));
  --_ink: var(--progress-ink, light-dark(#1b1f24, #e9ebee));
  --_muted: var(--progress-muted, light-dark(#5c636d, #a1a8b1));
  --_border: var(--progress-border, light-dark(#e2e5e9, #2c3036));
  --_track: var(--progress-track, light-dark(#e6e9ed, #2b2f35));
  --_running: var(--progress-running, light-dark(#2f5fd0, #7ea2ff));
  --_completed: var(--progress-completed, light-dark(#177a4b, #46c586));
  --_paused: var(--progress-paused, light-dark(#925d00, #e3ac3f));
  --_failed: var(--progress-failed, light-dark(#c62f38, #ff7b7f));
  --_still: light-dark(#6b7480, #8f97a3);
  display: block;
  min-inline-size: 0;
  color: var(--_ink);
  font-family: var(--progress-font, inherit);
  font-size: 0.8125rem;
  font-weight: 400;
  line-height: 1.4;
  font-variant-numeric: tabular-nums;
  text-align: start;
}
:host([hidden]), [hidden] { display: none !important; }
:host([theme="light"]) { color-scheme: light; }
:host([theme="dark"]) { color-scheme: dark; }
:host([theme="system"]) { color-scheme: light dark; }
* { box-sizing: border-box; }

[data-status] { --_hue: var(--_still); --_text: var(--_muted); }
[data-status="running"] { --_hue: var(--_running); --_text: var(--_running); }
[data-status="completed"] { --_hue: var(--_completed); --_text: var(--_completed); }
[data-status="paused"] { --_hue: var(--_paused); --_text: var(--_paused); }
[data-status="failed"] { --_text: var(--_failed); }

.icon {
  flex: none;
  inline-size: 1em;
  block-size: 1em;
  font-size: 1rem;
  fill: none;
  stroke: currentColor;
  stroke-width: 1.5;
  stroke-linecap: round;
  stroke-linejoin: round;
}
.icon[data-shape="live"] { fill: currentColor; }
.icon[data-shape="running"] {
  scale: 0.875;
  stroke-width: 2;
  border-radius: 50%;
  box-shadow: inset 0 0 0 0.125em var(--_track);
  animation: turn 0.9s linear infinite;
}
@keyframes turn { to { rotate: 1turn; } }

.bar {
  position: relative;
  overflow: hidden;
  block-size: var(--progress-bar-size, 0.375rem);
  border-radius: 1rem;
  background: var(--_track);
}
.done, .failed {
  position: absolute;
  inset: 0;
  transform: scaleX(var(--_share, 0));
  transform-origin: 0 50%;
  transition: transform 0.4s cubic-bezier(0.3, 0.6, 0.4, 1), background-color 0.3s;
}
:dir(rtl) > :is(.done, .failed) { transform-origin: 100% 50%; }
.done { background: var(--_hue); overflow: hidden; }
.failed { background: var(--_failed); }
[data-status="running"] .done::after {
  content: "";
  position: absolute;
  inset: 0;
  background: linear-gradient(90deg, transparent, light-dark(#fff6, #fff5), transparent);
  animation: sheen 2.4s ease-in-out infinite;
}
@keyframes sheen { from { translate: -100%; } 60%, to { translate: 100%; } }
.bar[data-indeterminate] .done {
  transform: scaleX(0.3);
  animation: wander 1.6s ease-in-out infinite alternate;
}
.bar[data-indeterminate] .done::after { content: none; }
@keyframes wander { from { translate: 0; } to { translate: 70%; } }

.card {
  container-type: inline-size;
  contain-intrinsic-inline-size: 24rem;
  border: 1px solid var(--_border);
  border-radius: var(--progress-radius, 0.625rem);
  background: var(--_surface);
  overflow: clip;
}
.header {
  display: flex;
  align-items: center;
  gap: 0.75rem;
  padding: 0.625rem 1rem;
  border-block-end: 1px solid var(--_border);
}
.title { font-weight: 600; }
.totals {
  flex: 1 1 0;
  min-inline-size: 0;
  overflow: hidden;
  color: var(--_muted);
  text-overflow: ellipsis;
  white-space: nowrap;
}
.active:not(:empty) + .sums:not(:empty)::before { content: " · "; }
.connection {
  display: flex;
  align-items: center;
  gap: 0.3125rem;
  margin-inline-start: auto;
  color: var(--_muted);
}
.connection .icon { font-size: 0.875rem; }
.connection[data-state="live"] .icon { color: var(--_completed); }
.connection:is([data-state="degraded"], [data-state="reconnecting"], [data-state="lost"]) {
  color: var(--_paused);
}
.connection:is([data-state="refused"], [data-state="signedOut"]) { color: var(--_failed); }

.body { display: grid; min-block-size: 4.75rem; }
.list, .empty { grid-area: 1 / 1; min-inline-size: 0; margin: 0; padding: 0; }
.list { list-style: none; }
.empty {
  align-self: center;
  padding: 0.75rem 1rem;
  color: var(--_muted);
  text-align: center;
  overflow-wrap: anywhere;
  visibility: hidden;
  opacity: 0;
}
.empty[data-shown] { visibility: visible; opacity: 1; transition: opacity 0.3s 0.2s; }

.job {
  display: grid;
  grid-template-columns: 1rem minmax(0, 1fr) auto;
  gap: 0.3125rem 0.625rem;
  align-items: center;
  padding: 0.75rem 1rem;
  content-visibility: auto;
  contain-intrinsic-block-size: auto 4.75rem;
}
.job + .job { border-block-start: 1px solid var(--_border); }
.job > .icon { color: var(--_text); }
.label { font-weight: 500; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.job > .bar, .facts, .error { grid-column: 2 / -1; }
.facts { display: flex; flex-wrap: wrap; gap: 0 0.625rem; color: var(--_muted); }
.status { color: var(--_text); font-weight: 500; }
.failed-count { margin-inline-start: auto; color: var(--_failed); }
.error { margin: 0; color: var(--_failed); overflow-wrap: anywhere; }
:is(.error, .failed-count, .status):empty { display: none; }

/* Without a ground of its own, the line takes the colour of the text around it. */
:host([compact]) {
  --_muted: var(--progress-muted, color-mix(in srgb, currentColor 70%, transparent));
  --_track: var(--progress-track, color-mix(in srgb, currentColor 14%, transparent));
  display: inline-block;
  max-inline-size: 100%;
  color: var(--progress-ink, inherit);
  vertical-align: middle;
}
.line {
  container-type: inline-size;
  contain-intrinsic-inline-size: 21rem;
  display: flex;
  align-items: center;
  gap: 0.5rem;
  white-space: nowrap;
}
.line[data-stale] { --_text: currentColor; color: var(--_muted); }
.line .icon { color: var(--_text, var(--_muted)); }
.line .text { display: flex; flex: none; gap: 0.3em; max-inline-size: 100%; }
.line .status { color: var(--_text, var(--_muted)); margin-inline-end: 0.2em; }
.line .bar { flex: 1; min-inline-size: 2rem; }
.line .percentage { min-inline-size: 4ch; text-align: end; }

.job, .line .bar { transition: opacity 0.3s, filter 0.3s; }
.card[data-stale] .job, .line[data-stale] .bar { filter: grayscale(0.8); opacity: 0.6; }
[data-stale] :is(.job .icon, .done) { animation-play-state: paused; }
[data-stale] .done::after { content: none !important; }

@container (inline-size < 23rem) {
  .active { display: none; }
  .active:not(:empty) + .sums::before { content: none !important; }
}
@container (inline-size < 15rem) {
  .totals, .line .unit, .line .status:not(:empty) ~ .count { display: none; }
  .job, .header, .empty { padding-inline: 0.75rem; }
  .header { flex-wrap: wrap; gap: 0 0.75rem; }
  .job > .bar, .facts, .error { grid-column: 1 / -1; }
}
@container (inline-size < 11rem) {
  .line[data-status] .text { display: none; }
  .line .text { overflow: hidden; }
}

@media (prefers-reduced-motion: reduce) {
  *, ::after { transition: none !important; animation: none !important; }
}
@media (forced-colors: active) {
  .bar { border: 1px solid CanvasText; forced-color-adjust: none; background: Canvas; }
  .done { background: Highlight; }
  .failed { background: GrayText; }
  .done::after { content: none !important; }
}
`);
