/**
 * Call *listener* every second while somebody may be looking, until the function that this returns is called.
 * @param {() => void} listener
 */
export function everySecond(listener: () => void): () => void;
