import{a,b,c,d,e,f}from"./chunk-4W4Y5ACN.js";export{e as CommandFailed,a as NOTHING_KNOWN,d as isCurrent,b as isFinished,c as latestJob,f as watch};
