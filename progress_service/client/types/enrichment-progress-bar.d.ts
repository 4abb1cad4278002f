export { EnrichmentProgressBar };
import { EnrichmentProgressBar } from "./element.js";
