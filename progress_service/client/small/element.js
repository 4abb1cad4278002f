import{a}from"./chunk-W3JX75KZ.js";import"./chunk-GPDSJRK4.js";import"./chunk-YYQ6CZST.js";import"./chunk-LLTVUMAW.js";import"./chunk-M3QVEKJV.js";export{a as EnrichmentProgressBar};
