import{a as e}from"./chunk-QCO37QZ3.js";import"./chunk-FXRWTHX7.js";var r="enrichment-progress-bar";customElements.get(r)||customElements.define(r,e);export{e as EnrichmentProgressBar};
