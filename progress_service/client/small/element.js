import{a}from"./chunk-QCO37QZ3.js";import"./chunk-FXRWTHX7.js";export{a as EnrichmentProgressBar};
