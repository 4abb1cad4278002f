/**
 * How both views look. A page changes it by `--progress-…` properties and by `::part()`.
 *
 * The element follows the `color-scheme` of the page, so it stays light on a page that is light only; the
 * attribute `theme` overrules that. A constructed stylesheet needs no `unsafe-inline` in a Content-Security-
 * Policy.
 */

/** @param {string} text */
export function sheet(text) {
  const styles = new CSSStyleSheet();
  styles.replaceSync(text);
  return styles;
}

export const styles = sheet(/* css */ `
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
  --_still: var(--progress-still, light-dark(#6b7480, #8f97a3));
  --_wrong: var(--_failed);
  --_way: -1;
  display: block;
  min-inline-size: 0;
  color: var(--_ink);
  font-family: var(--progress-font, inherit);
  font-size: var(--progress-font-size, 0.8125rem);
  font-weight: 400;
  line-height: 1.4;
  font-variant-numeric: tabular-nums;
  text-align: start;
}
:host(:dir(rtl)) { --_way: 1; }
:host([hidden]), [hidden] { display: none !important; }
:host([theme="light"]) { color-scheme: light; }
:host([theme="dark"]) { color-scheme: dark; }
:host([theme="system"]) { color-scheme: light dark; }
* { box-sizing: border-box; }
.unseen {
  position: absolute;
  inline-size: 1px;
  block-size: 1px;
  overflow: hidden;
  clip-path: inset(50%);
  white-space: nowrap;
}

[data-status] { --_hue: var(--_still); --_text: var(--_muted); }
[data-status="running"] { --_text: var(--_hue); --_hue: var(--_running); }
[data-status="completed"] { --_text: var(--_hue); --_hue: var(--_completed); }
[data-status="paused"], [data-status="stalled"] { --_text: var(--_hue); --_hue: var(--_paused); }
[data-status="failed"] { --_text: var(--_wrong); }

.icon {
  flex: none;
  inline-size: 1rem;
  block-size: 1rem;
  fill: none;
  stroke: currentColor;
  stroke-width: 1.5;
  stroke-linecap: round;
  stroke-linejoin: round;
}
.icon[data-shape="running"] {
  scale: 0.875;
  stroke-width: 2;
  border-radius: 50%;
  box-shadow: inset 0 0 0 2px var(--_track);
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
  border-radius: inherit;
  background: var(--_failed);
  translate: calc((1 - var(--_share, 0)) * var(--_way) * 100%);
  transition: translate 0.4s ease-out, background 0.3s;
}
.done { background: var(--_hue); }
[data-failed] .done { box-shadow: 0 0 0 1.5px var(--_surface); }
[data-indeterminate] .done { animation: wander 2s ease-in-out infinite alternate; }
@keyframes wander { from { translate: -70%; } to { translate: 70%; } }
[data-stale], [data-stale] [data-status] {
  --_hue: var(--_still);
  --_text: var(--_muted);
  --_wrong: var(--_muted);
}
[data-stale] .failed { background: var(--_still); opacity: 0.5; }
/* A row that goes, goes. */
[data-stale] :not(.job) { animation-play-state: paused !important; }

@media (prefers-reduced-motion: reduce) {
  * { transition: none !important; animation: none !important; }
  [data-indeterminate] .done {
    translate: none;
    background: repeating-linear-gradient(-45deg, var(--_hue) 0 4px, transparent 4px 8px);
  }
}
@media (forced-colors: active) {
  .bar { border: 1px solid CanvasText; background: Canvas; forced-color-adjust: none; }
  .done { background: Highlight; }
  .failed { background: GrayText; }
}
`);
