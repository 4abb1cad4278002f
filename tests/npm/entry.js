/**
 * The script tag, in the small form: it makes the element known from the file that suits the page. One with a card
 * in it is smaller than two where a card waits, and too large where none does.
 */

const NAME = "enrichment-progress-bar";
const file = document.querySelector(`${NAME}:not([compact])`) ? "./with-card.js" : "./element.js";
const { EnrichmentProgressBar } = await import(file);

// A page may load it from two addresses; the first one counts.
if (!customElements.get(NAME)) customElements.define(NAME, EnrichmentProgressBar);

export { EnrichmentProgressBar };
