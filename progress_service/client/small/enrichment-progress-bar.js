import{a as e}from"./chunk-RZV62MLE.js";import"./chunk-4W4Y5ACN.js";var r="enrichment-progress-bar";customElements.get(r)||customElements.define(r,e);export{e as EnrichmentProgressBar};
