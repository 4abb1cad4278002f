/**
 * The script tag of a page with a card: what `enrichment-progress-bar.js` does, with the card in the same file of
 * the small form. That is smaller than two, and there sooner.
 */

import "./card.js";

export { EnrichmentProgressBar } from "./enrichment-progress-bar.js";
