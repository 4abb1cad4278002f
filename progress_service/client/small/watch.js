import{a as e,b as f}from"./chunk-JM3VYN7I.js";import{a,b,c,d}from"./chunk-M3QVEKJV.js";export{e as CommandFailed,a as NOTHING_KNOWN,d as isCurrent,b as isFinished,c as latestJob,f as watch};
