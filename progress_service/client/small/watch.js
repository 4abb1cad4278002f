import{a,b,c,d,e,f}from"./chunk-FXRWTHX7.js";export{e as CommandFailed,a as NOTHING_KNOWN,d as isCurrent,b as isFinished,c as latestJob,f as watch};
