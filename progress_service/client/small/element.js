import{a}from"./chunk-RAHWU4HL.js";import"./chunk-GPDSJRK4.js";import"./chunk-JM3VYN7I.js";import"./chunk-LLTVUMAW.js";import"./chunk-M3QVEKJV.js";export{a as EnrichmentProgressBar};
