import{a}from"./chunk-RZV62MLE.js";import"./chunk-4W4Y5ACN.js";export{a as EnrichmentProgressBar};
