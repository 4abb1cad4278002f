/** A time left that is told now and then, and runs down in between without jumping. */

/** @import {Language} from "./texts.js" */
/** @import {Job} from "./types.d.ts" */

/** Of a correction, this share is taken over at once and the rest with those that follow. */
const BLEND = 0.25;
/** Corrections above this, and above half of what is left, are no noise: they count at once. */
const NOISE_MS = 20_000;

/** A range is worth its words when its ends differ by this factor. */
const UNSURE = 1.6;

/** A time left: told now and then, and counted down in between, in coarse steps. */
export function countdown() {
  let end = NaN;
  let shown = NaN;
  return {
    /** Take in a new estimate. @param {number} seconds @param {number} now Milliseconds. */
    hear(seconds, now) {
      const told = now + seconds * 1_000;
      const drift = told - end;
      const isNoise = Math.abs(drift) < Math.max(NOISE_MS, (end - now) / 2);
      end = isNoise ? end + drift * BLEND : told;
    },

    /**
     * The seconds left, in steps that grow with them. A step is left only when the time is well past it.
     * @param {number} now Milliseconds.
     */
    left(now) {
      const left = Math.max(0, end - now) / 1_000;
      const step = left < 60 ? 10 : left < 600 ? 60 : left < 3_600 ? 300 : 1_800;
      if (!(Math.abs(left - shown) < step * 0.75)) shown = Math.round(left / step) * step;
      return shown;
    },
  };
}

/** The time left of one job, as a range where the service is unsure. */
export function timeLeftOf() {
  const ends = [countdown(), countdown(), countdown()];
  return {
    /** @param {Job} job @param {number} now */
    hear({ eta_seconds, eta_range }, now) {
      if (eta_seconds === null) return;
      const [low, high] = eta_range ?? [eta_seconds, eta_seconds];
      [low, eta_seconds, high].forEach((seconds, index) => ends[index].hear(seconds, now));
    },

    /**
     * What to tell people; nothing while nobody can know.
     * @param {Job} job
     * @param {Language} language
     * @param {number} now
     */
    text({ status, requested, stalled, eta_seconds }, language, now) {
      if (status !== "running" || requested || stalled || eta_seconds === null) return "";
      const [low, middle, high] = ends.map((each) => each.left(now));
      return high >= 60 && high > low * UNSURE ? language.left(low, high) : language.left(middle, middle);
    },
  };
}
