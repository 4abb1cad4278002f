import{a,b,c,d,e,f,g}from"./chunk-TA23SUL2.js";export{a as CommandFailed,b as NOTHING_KNOWN,f as Store,e as isCurrent,c as isFinished,d as latestJob,g as watch};
