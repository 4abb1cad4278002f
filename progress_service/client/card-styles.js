/** How the card looks: one grid for each job, in as many lines as its width has room for. */

import { sheet } from "./parts.js";

export const cardStyles = sheet(/* css */ `
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
  flex-wrap: wrap;
  align-items: center;
  gap: 0 0.75rem;
  padding: 0.625rem var(--_pad);
}
.card > * { --_pad: 1rem; }
.title { font-weight: 600; }
.totals { flex: 1; min-inline-size: 0; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.active:not(:empty) + .sums:not(:empty)::before { content: " · "; }
.connection { display: flex; align-items: center; gap: 0.3125rem; margin-inline-start: auto; }
.totals, .connection, .facts, .empty { color: var(--_muted); }
.connection .icon { inline-size: 0.875rem; block-size: 0.875rem; }
.connection[data-state="live"] .icon { color: var(--_completed); fill: currentColor; }
.connection:is([data-state="degraded"], [data-state="reconnecting"], [data-state="lost"]) {
  color: var(--_paused);
}
.connection:is([data-state="refused"], [data-state="signedOut"]) { color: var(--_failed); }

.body {
  display: grid;
  min-block-size: 4.75rem;
  max-block-size: var(--progress-list-size, none);
  overflow: auto;
  border-block-start: 1px solid var(--_border);
}
.list, .empty { grid-area: 1 / 1; min-inline-size: 0; margin: 0; padding: 0; }
.list { list-style: none; }
.empty {
  align-self: center;
  padding: 0.75rem var(--_pad);
  text-align: center;
  overflow-wrap: anywhere;
  visibility: hidden;
  opacity: 0;
}
.empty[data-shown] { visibility: visible; opacity: 1; transition: opacity 0.3s 0.2s; }

.job {
  display: grid;
  grid-template-columns: 1rem minmax(0, 1fr) auto auto auto;
  gap: 0.375rem 0.625rem;
  align-items: center;
  padding: 0.75rem var(--_pad);
  content-visibility: auto;
  contain-intrinsic-block-size: auto 5rem;
}
[data-arriving] { animation: arrive 0.26s ease-in-out; }
[data-leaving] { animation: leave 0.26s ease-in-out forwards; }
@keyframes arrive { from { max-block-size: 0; padding-block: 0; opacity: 0; } to { max-block-size: 6rem; } }
@keyframes leave { from { max-block-size: 6rem; } to { max-block-size: 0; padding-block: 0; opacity: 0; } }
.job + .job, .footer:not(:empty) { border-block-start: 1px solid var(--_border); }
.job > .icon { color: var(--_text); }
.label {
  font-weight: 500;
  text-align: match-parent;
  overflow: hidden;
  text-overflow: ellipsis;
  white-space: nowrap;
}
.job > .left { color: var(--_muted); }
.percentage { grid-column: -3; font-weight: 500; }
.actions { grid-column: -2; display: flex; margin-block: -0.25rem; margin-inline: -0.25rem -0.375rem; }
.actions:has(> .cancel[hidden]) { margin: 0; }
.percentage:has(+ .actions > .cancel[hidden]) { margin-inline-end: -0.625rem; }
.job > :nth-child(n + 6) { grid-column: 2 / -1; }
.facts { display: flex; flex-wrap: wrap; align-items: baseline; gap: 0 0.75rem; }
:is(.left, .facts > *, .error, .refusal):empty { display: none; }
.status { color: var(--_text); font-weight: 500; }
.elapsed { margin-inline-start: auto; }
.error, .refusal { margin: 0; overflow-wrap: anywhere; }
.error, .refusal, .failed-count { color: var(--_wrong); }
.footer:not(:empty) { display: flex; flex-wrap: wrap; gap: 0.25rem 1rem; padding: 0.375rem var(--_pad); }

.button {
  min-inline-size: 24px;
  min-block-size: 24px;
  padding: 0.25rem;
  border: 0;
  border-radius: 0.375rem;
  background: none;
  color: var(--_muted);
  font: inherit;
  cursor: pointer;
}
.button .icon { display: block; }
.button:hover { background: var(--_track); color: var(--_ink); }
:focus-visible { outline: 2px solid var(--_running); outline-offset: -2px; }
.facts .button, .footer > .button { padding: 0 0.375rem; margin: 0 -0.375rem; }
.facts .button { margin-block: -0.125rem; }
[aria-expanded]:not(.cancel)::after { content: " \\25be" / ""; }
[aria-expanded="true"]:not(.cancel)::after { content: " \\25b4" / ""; }

@container (inline-size >= 46rem) {
  .job { grid-template-columns: 1rem minmax(8rem, 16rem) minmax(0, 1fr) 9rem 2.5rem 3.25rem; }
  .job > .bar { grid-area: 1 / 3; }
  .job > .left { grid-area: 1 / 4; text-align: end; }
  .job > .percentage { grid-area: 1 / 5; margin: 0; text-align: end; }
  .actions { grid-area: 1 / 6; justify-content: end; }
}
@container (inline-size < 26rem) { .totals { flex-basis: 100%; order: 1; white-space: normal; } }
@container (inline-size < 23rem) {
  .job > .left { grid-column: 2 / -1; order: 1; }
  .job > :nth-child(n + 7) { order: 2; }
}
@container (inline-size < 15rem) {
  .card > * { --_pad: 0.625rem; }
  .connection .icon { display: none; }
  .label { grid-column: 2 / -1; }
  .percentage { grid-column: 1 / -2; }
  .job > .left, .job > :nth-child(n + 6) { grid-column: 1 / -1; }
  .elapsed { margin-inline-start: 0; }
}
`);
