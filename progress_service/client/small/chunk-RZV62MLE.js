import{a as A,b as E,c as T,d as m,f as $}from"./chunk-4W4Y5ACN.js";var O="http://www.w3.org/2000/svg",p="M8 1.75a6.25 6.25 0 1 1 0 12.5 6.25 6.25 0 0 1 0-12.5",B={pending:`${p}M8 4.75V8l2.25 1.5`,running:"M8 1a7 7 0 0 1 7 7",paused:`${p}M6.5 5.75v4.5M9.5 5.75v4.5`,completed:`${p}M5.25 8.25l2 2 3.5-4`,failed:`${p}M8 4.75v3.75M8 11v.25`,cancelled:`${p}M5.75 5.75l4.5 4.5M10.25 5.75l-4.5 4.5`,live:"M8 6a2 2 0 1 1 0 4 2 2 0 0 1 0-4z",cut:"M1.75 8a6.25 6.25 0 0 1 10.7-4.4M14.25 8a6.25 6.25 0 0 1-10.7 4.4M12.75 1v2.9h-2.9M3.25 15v-2.9h2.9"},y={idle:"cancelled",connecting:"running",live:"live",reconnecting:"cut",refused:"failed",signedOut:"cancelled",degraded:"pending",lost:"cut"};function r(n,e,...t){let i=document.createElement(n);return i.className=e.split(" ")[0],i.setAttribute("part",e),i.append(...t),i}function o(n,e){n.textContent!==e&&(n.textContent=e)}function a(n,e,t){n.getAttribute(e)!==t&&(t===null?n.removeAttribute(e):n.setAttribute(e,t))}var u=class{element=document.createElementNS(O,"svg");#t=document.createElementNS(O,"path");constructor(){a(this.element,"class","icon"),a(this.element,"part","icon"),a(this.element,"viewBox","0 0 16 16"),a(this.element,"aria-hidden","true"),this.element.append(this.#t)}show(e){a(this.element,"data-shape",e),a(this.#t,"d",B[e]??p)}},f=class{#t=r("div","done");#e=r("div","failed");element=r("div","bar",this.#e,this.#t);constructor(){a(this.element,"role","progressbar"),a(this.element,"aria-valuemin","0"),a(this.element,"aria-valuemax","100")}show(e,t,i){let{total:s,completed:l,failed:h}=e.progress,c=s===0&&!E(e);this.#t.style.setProperty("--_share",I(l,s,e.status==="completed")),this.#e.style.setProperty("--_share",I(l+h,s,!1)),a(this.element,"data-indeterminate",c?"":null),a(this.element,"aria-label",e.label??t.unlabelled),a(this.element,"aria-valuenow",c?null:String(e.percentage)),a(this.element,"aria-valuetext",t.spoken(e,i))}},I=(n,e,t)=>String(e>0?Math.min(1,n/e):Number(t));var v=new Intl.NumberFormat("en"),G=new Intl.DateTimeFormat("en-GB",{timeStyle:"medium"}),P=n=>n===1?"contact":"contacts",z={title:"Enrichment jobs",empty:"No jobs are running",unlabelled:"Untitled job",status:{pending:"Pending",running:"Running",paused:"Paused",completed:"Completed",failed:"Failed",cancelled:"Cancelled"},requested:{pause:"Pausing\u2026",resume:"Resuming\u2026",cancel:"Cancelling\u2026"},connection:{idle:"Not signed in",connecting:"Connecting\u2026",live:"Live",reconnecting:"Reconnecting\u2026",refused:"Disconnected",signedOut:"Signed out",degraded:"Delayed",lost:"No updates"},count:(n,e)=>e>0?`${v.format(n)} of ${v.format(e)}`:v.format(n),contacts:P,failed:n=>`${v.format(n)} failed`,active:n=>`${v.format(n)} active`,percentage:n=>`${n}%`,stale:n=>`Last update ${G.format(n)}`,spoken:({progress:{total:n,completed:e,failed:t},percentage:i},s)=>[n>0?`${i}%`:"",`${z.count(e,n)} ${P(n)}`,t>0?z.failed(t):"",s?"":"not up to date"].filter(Boolean).join(", ")},F=n=>z,S=(n,e)=>n.requested&&e.requested[n.requested]||(e.status[n.status]??n.status);function g({connection:n,feed:e}){return n.problem?.status===401?"signedOut":n.state==="live"?e:n.state}var L=260,C=class{#t=new u;#e=r("span","label");#i=r("span","percentage");#l=new f;#a=r("span","status");#r=r("span","count");#n=r("span","failed-count");#s=r("p","error");element=r("li","job",this.#t.element,this.#e,this.#i,this.#l.element,r("div","facts",this.#a,this.#r,this.#n),this.#s);#o;#c=null;#d=!0;constructor(e){this.#o=e}render(e,t){if(e===this.#c&&t===this.#d)return;this.#c=e,this.#d=t;let i=this.#o,{total:s,completed:l,failed:h}=e.progress,c=e.label??i.unlabelled;a(this.element,"data-status",e.status),this.#t.show(e.status),o(this.#e,c),a(this.#e,"title",c),o(this.#i,s>0?i.percentage(e.percentage):""),o(this.#a,S(e,i)),o(this.#r,`${i.count(l,s)} ${i.contacts(s)}`),o(this.#n,h>0?i.failed(h):""),o(this.#s,e.error??""),this.#l.show(e,i,t)}arrive(e){return e&&this.#h("normal"),this}leave(e){a(this.element,"data-leaving","");let t=e?this.#h("reverse"):null;if(!t)return this.element.remove();t.onfinish=t.oncancel=()=>this.element.remove()}#h(e){if(matchMedia("(prefers-reduced-motion: reduce)").matches)return null;let t=`${this.element.getBoundingClientRect().height}px`,i={blockSize:"0px",paddingBlock:"0px",opacity:0,overflow:"clip"},s={blockSize:t,opacity:1,overflow:"clip"};return this.element.animate([i,s],{duration:L,easing:"ease-in-out",direction:e})}};var R=12,b=class{#t=r("span","active");#e=r("span","sums");#i=new u;#l=r("span","word");#a=r("span","connection",this.#i.element,this.#l);#r=r("ul","list");#n=r("p","empty");element;#s;#o=new Map;#c=null;constructor(e){this.#s=e;let t=r("span","totals",this.#t,this.#e),i=r("header","header",r("span","title",e.title),t,this.#a);this.element=r("section","card",i,r("div","body",this.#r,this.#n)),a(this.element,"aria-label",e.title),a(this.#r,"role","list")}render(e){let t=this.#c;e!==t&&(this.#c=e,this.#d(e),(e.jobs!==t?.jobs||m(e)!==m(t))&&this.#u(e,t!==null),a(this.element,"data-stale",m(e)?null:""),o(this.#n,this.#m(e)),a(this.#n,"data-shown",e.jobs.length===0?"":null))}#d(e){let t=g(e);a(this.#a,"data-state",t),a(this.#a,"title",e.connection.problem?.detail||null),this.#i.show(y[t]),o(this.#l,this.#s.connection[t]),this.#h(e)}#h({connection:e,feed:t,totals:i,jobs:s}){let l=this.#s,h=s.length>0&&i!==null&&t!=="lost",c=h&&e.state==="live";o(this.#t,c&&i.active>0?l.active(i.active):""),c&&i.total>0?o(this.#e,`${l.count(i.completed,i.total)} \xB7 ${l.percentage(i.percentage)}`):o(this.#e,h&&!c?l.stale(e.since):"")}#m(e){if(m(e))return this.#s.empty;let{problem:t}=e.connection;return t?.detail||t?.title||this.#s.connection[g(e)]}#u({jobs:e,...t},i){let s=m({jobs:e,...t}),l=new Set(e.map(({id:d})=>d)),h=[...this.#o].filter(([d])=>!l.has(d)),c=e.filter(({id:d})=>!this.#o.has(d)),M=i&&h.length+c.length<=R;for(let[d,k]of h)this.#o.delete(d),k.leave(M);let x=H(this.#r.firstElementChild);for(let d of e){let k=this.#o.get(d.id),_=k??new C(this.#s);_.render(d,s),_.element===x?x=H(x.nextElementSibling):this.#r.insertBefore(_.element,x),k||this.#o.set(d.id,_.arrive(M))}}};function H(n){for(;n?.hasAttribute("data-leaving");)n=n.nextElementSibling;return n}var D=1e3,w=class{#t=new u;#e=r("span","status");#i=r("span","count");#l=r("span","unit");#a=new f;#r=r("span","percentage");element=r("div","line",this.#t.element,r("span","text",this.#e,this.#i,this.#l),this.#a.element,this.#r);#n;#s;#o=0;constructor(e,t){this.#n=e,this.#s=t}render(e){clearTimeout(this.#o);let t=T(e.jobs),{element:i}=this;if(i.hidden=t===null&&!this.#h(e),i.hidden)return;let s=m(e);this.#t.show(s&&t?t.status:y[g(e)]),o(this.#e,this.#d(e,t)),a(i,"data-status",t&&t.status),a(i,"data-stale",s?null:""),a(i,"title",e.connection.problem?.detail||t&&t.label);for(let l of[this.#i,this.#l,this.#a.element,this.#r])l.hidden=t===null;t&&this.#c(t,s)}#c(e,t){let{total:i,completed:s}=e.progress;o(this.#i,this.#n.count(s,i)),o(this.#l,this.#n.contacts(i)),o(this.#r,i>0?this.#n.percentage(e.percentage):""),this.#a.show(e,this.#n,t)}#d(e,t){return m(e)?!t||t.status==="running"&&!t.requested?"":S(t,this.#n):this.#n.connection[g(e)]}#h(e){let{state:t,since:i}=e.connection;if(t==="idle"||m(e))return!1;let s=i+D-Date.now();return s>0&&(this.#o=setTimeout(this.#s,s)),s<=0}};var N=new CSSStyleSheet;N.replaceSync(`
:host {
  --_surface: var(--progress-surface, light-dark(#fff, #17191c));
  --_ink: var(--progress-ink, light-dark(#1b1f24, #e9ebee));
  --_muted: var(--progress-muted, light-dark(#5c636d, #a1a8b1));
  --_border: var(--progress-border, light-dark(#e2e5e9, #2c3036));
  --_track: var(--progress-track, light-dark(#e6e9ed, #2b2f35));
  --_running: var(--progress-running, light-dark(#2f5fd0, #7ea2ff));
  --_completed: var(--progress-completed, light-dark(#177a4b, #46c586));
  --_paused: var(--progress-paused, light-dark(#925d00, #e3ac3f));
  --_failed: var(--progress-failed, light-dark(#c62f38, #ff7b7f));
  --_still: light-dark(#6b7480, #8f97a3);
  display: block;
  min-inline-size: 0;
  color: var(--_ink);
  font-family: var(--progress-font, inherit);
  font-size: 0.8125rem;
  font-weight: 400;
  line-height: 1.4;
  font-variant-numeric: tabular-nums;
  text-align: start;
}
:host([hidden]), [hidden] { display: none !important; }
:host([theme="light"]) { color-scheme: light; }
:host([theme="dark"]) { color-scheme: dark; }
:host([theme="system"]) { color-scheme: light dark; }
* { box-sizing: border-box; }

[data-status] { --_hue: var(--_still); --_text: var(--_muted); }
[data-status="running"] { --_hue: var(--_running); --_text: var(--_running); }
[data-status="completed"] { --_hue: var(--_completed); --_text: var(--_completed); }
[data-status="paused"] { --_hue: var(--_paused); --_text: var(--_paused); }
[data-status="failed"] { --_text: var(--_failed); }

.icon {
  flex: none;
  inline-size: 1em;
  block-size: 1em;
  font-size: 1rem;
  fill: none;
  stroke: currentColor;
  stroke-width: 1.5;
  stroke-linecap: round;
  stroke-linejoin: round;
}
.icon[data-shape="live"] { fill: currentColor; }
.icon[data-shape="running"] {
  scale: 0.875;
  stroke-width: 2;
  border-radius: 50%;
  box-shadow: inset 0 0 0 0.125em var(--_track);
  animation: turn 0.9s linear infinite;
}
@keyframes turn { to { rotate: 1turn; } }

.bar {
  position: relative;
  overflow: hidden;
  block-size: var(--progress-bar-size, 0.375rem);
  border-radius: 1rem;
  background: var(--_track);
}
.done, .failed {
  position: absolute;
  inset: 0;
  transform: scaleX(var(--_share, 0));
  transform-origin: 0 50%;
  transition: transform 0.4s cubic-bezier(0.3, 0.6, 0.4, 1), background-color 0.3s;
}
:dir(rtl) > :is(.done, .failed) { transform-origin: 100% 50%; }
.done { background: var(--_hue); overflow: hidden; }
.failed { background: var(--_failed); }
[data-status="running"] .done::after {
  content: "";
  position: absolute;
  inset: 0;
  background: linear-gradient(90deg, transparent, light-dark(#fff6, #fff5), transparent);
  animation: sheen 2.4s ease-in-out infinite;
}
@keyframes sheen { from { translate: -100%; } 60%, to { translate: 100%; } }
.bar[data-indeterminate] .done {
  transform: scaleX(0.3);
  animation: wander 1.6s ease-in-out infinite alternate;
}
.bar[data-indeterminate] .done::after { content: none; }
@keyframes wander { from { translate: 0; } to { translate: 70%; } }

.card {
  container-type: inline-size;
  contain-intrinsic-inline-size: 24rem;
  border: 1px solid var(--_border);
  border-radius: var(--progress-radius, 0.625rem);
  background: var(--_surface);
  overflow: clip;
}
.header {
  display: flex;
  align-items: center;
  gap: 0.75rem;
  padding: 0.625rem 1rem;
  border-block-end: 1px solid var(--_border);
}
.title { font-weight: 600; }
.totals {
  flex: 1 1 0;
  min-inline-size: 0;
  overflow: hidden;
  color: var(--_muted);
  text-overflow: ellipsis;
  white-space: nowrap;
}
.active:not(:empty) + .sums:not(:empty)::before { content: " \xB7 "; }
.connection {
  display: flex;
  align-items: center;
  gap: 0.3125rem;
  margin-inline-start: auto;
  color: var(--_muted);
}
.connection .icon { font-size: 0.875rem; }
.connection[data-state="live"] .icon { color: var(--_completed); }
.connection:is([data-state="degraded"], [data-state="reconnecting"], [data-state="lost"]) {
  color: var(--_paused);
}
.connection:is([data-state="refused"], [data-state="signedOut"]) { color: var(--_failed); }

.body { display: grid; min-block-size: 4.75rem; }
.list, .empty { grid-area: 1 / 1; min-inline-size: 0; margin: 0; padding: 0; }
.list { list-style: none; }
.empty {
  align-self: center;
  padding: 0.75rem 1rem;
  color: var(--_muted);
  text-align: center;
  overflow-wrap: anywhere;
  visibility: hidden;
  opacity: 0;
}
.empty[data-shown] { visibility: visible; opacity: 1; transition: opacity 0.3s 0.2s; }

.job {
  display: grid;
  grid-template-columns: 1rem minmax(0, 1fr) auto;
  gap: 0.3125rem 0.625rem;
  align-items: center;
  padding: 0.75rem 1rem;
  content-visibility: auto;
  contain-intrinsic-block-size: auto 4.75rem;
}
.job + .job { border-block-start: 1px solid var(--_border); }
.job > .icon { color: var(--_text); }
.label { font-weight: 500; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.job > .bar, .facts, .error { grid-column: 2 / -1; }
.facts { display: flex; flex-wrap: wrap; gap: 0 0.625rem; color: var(--_muted); }
.status { color: var(--_text); font-weight: 500; }
.failed-count { margin-inline-start: auto; color: var(--_failed); }
.error { margin: 0; color: var(--_failed); overflow-wrap: anywhere; }
:is(.error, .failed-count, .status):empty { display: none; }

/* Without a ground of its own, the line takes the colour of the text around it. */
:host([compact]) {
  --_muted: var(--progress-muted, color-mix(in srgb, currentColor 70%, transparent));
  --_track: var(--progress-track, color-mix(in srgb, currentColor 14%, transparent));
  display: inline-block;
  max-inline-size: 100%;
  color: var(--progress-ink, inherit);
  vertical-align: middle;
}
.line {
  container-type: inline-size;
  contain-intrinsic-inline-size: 21rem;
  display: flex;
  align-items: center;
  gap: 0.5rem;
  white-space: nowrap;
}
.line[data-stale] { --_text: currentColor; color: var(--_muted); }
.line .icon { color: var(--_text, var(--_muted)); }
.line .text { display: flex; flex: none; gap: 0.3em; max-inline-size: 100%; }
.line .status { color: var(--_text, var(--_muted)); margin-inline-end: 0.2em; }
.line .bar { flex: 1; min-inline-size: 2rem; }
.line .percentage { min-inline-size: 4ch; text-align: end; }

.job, .line .bar { transition: opacity 0.3s, filter 0.3s; }
.card[data-stale] .job, .line[data-stale] .bar { filter: grayscale(0.8); opacity: 0.6; }
[data-stale] :is(.job .icon, .done) { animation-play-state: paused; }
[data-stale] .done::after { content: none !important; }

@container (inline-size < 23rem) {
  .active { display: none; }
  .active:not(:empty) + .sums::before { content: none !important; }
}
@container (inline-size < 15rem) {
  .totals, .line .unit, .line .status:not(:empty) ~ .count { display: none; }
  .job, .header, .empty { padding-inline: 0.75rem; }
  .header { flex-wrap: wrap; gap: 0 0.75rem; }
  .job > .bar, .facts, .error { grid-column: 1 / -1; }
}
@container (inline-size < 11rem) {
  .line[data-status] .text { display: none; }
  .line .text { overflow: hidden; }
}

@media (prefers-reduced-motion: reduce) {
  *, ::after { transition: none !important; animation: none !important; }
}
@media (forced-colors: active) {
  .bar { border: 1px solid CanvasText; forced-color-adjust: none; background: Canvas; }
  .done { background: Highlight; }
  .failed { background: GrayText; }
  .done::after { content: none !important; }
}
`);var q=class extends HTMLElement{static observedAttributes=["user-id","src","compact"];#t=this.attachShadow({mode:"open"});#e=null;#i=null;#l=()=>{};#a=null;#r=0;constructor(){super(),this.#t.adoptedStyleSheets=[N]}get getToken(){return this.#a}set getToken(e){this.#a=e,e&&this.#i?.useToken(e)}get userId(){return this.getAttribute("user-id")??""}set userId(e){e?this.setAttribute("user-id",e):this.removeAttribute("user-id")}get compact(){return this.hasAttribute("compact")}set compact(e){this.toggleAttribute("compact",e)}connectedCallback(){for(let e of["getToken","userId","compact"])this.#d(e);this.#n()}disconnectedCallback(){this.#s()}attributeChangedCallback(){!this.isConnected||!this.#e||(this.#s(),this.#n())}#n(){let{compact:e,userId:t}=this;if(!(e?this.#e instanceof w:this.#e instanceof b)){let s=F();this.#e=e?new w(s,this.#o):new b(s),this.#t.replaceChildren(this.#e.element)}if(t){let s=this.getAttribute("src");this.#i=$({userId:t,src:s,compact:e,getToken:this.#a}),this.#l=this.#i.subscribe(this.#o)}this.#c()}#s(){cancelAnimationFrame(this.#r),this.#r=0,this.#l(),this.#i?.release(),this.#i=null}#o=()=>{this.#r||=requestAnimationFrame(()=>{this.#r=0,this.#c()})};#c(){this.#e?.render(this.#i?.getSnapshot()??A)}#d(e){if(!Object.hasOwn(this,e))return;let t=this,i=t[e];delete t[e],t[e]=i}};export{q as a};
