export { EnrichmentProgressBar } from "./enrichment-progress-bar.js";
