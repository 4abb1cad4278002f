import{a}from"./chunk-4T5VEDD5.js";import"./chunk-GPDSJRK4.js";import"./chunk-YYQ6CZST.js";import"./chunk-LLTVUMAW.js";import"./chunk-M3QVEKJV.js";export{a as EnrichmentProgressBar};
