import{a}from"./chunk-SUDQBHPV.js";import"./chunk-GPDSJRK4.js";import"./chunk-6BMNFQT4.js";import"./chunk-TA23SUL2.js";export{a as EnrichmentProgressBar};
