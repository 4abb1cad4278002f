/** One timer for all elements of a page. */

/** @type {Set<() => void>} */
const listeners = new Set();
let timer = 0;

/**
 * Call *listener* every second while somebody may be looking, until the function that this returns is called.
 * @param {() => void} listener
 */
export function everySecond(listener) {
  listeners.add(listener);
  settle();
  return () => {
    listeners.delete(listener);
    settle();
  };
}

function settle() {
  clearInterval(timer);
  if (listeners.size > 0 && !document.hidden)
    timer = setInterval(() => listeners.forEach((each) => each()), 1_000);
}
document.addEventListener("visibilitychange", settle);
