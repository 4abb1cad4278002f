/** The script tag: loading this module makes `<enrichment-progress-bar>` known to the page. */

import { EnrichmentProgressBar } from "./element.js";

const NAME = "enrichment-progress-bar";

// A page may load it from two addresses; the first one counts.
if (!customElements.get(NAME)) customElements.define(NAME, EnrichmentProgressBar);

export { EnrichmentProgressBar };
