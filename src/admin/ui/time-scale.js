const DAY_MS = 86_400_000;
/** Where the present is, part of the width. */
export const NOW_AT = 0.36;
/** Days around which the scale turns from linear to logarithmic. */
const BEND_DAYS = 4;
const PAST_DAYS = 3_650;
const FUTURE_DAYS = 7_300;

/** @param {number} days */
const bent = (days) => Math.log1p(Math.abs(days) / BEND_DAYS);

/**
 * Where a moment stands on a line that shows hours and decades at once: linear around now, logarithmic
 * further away.
 * @param {number} at milliseconds since the epoch
 * @param {number} now
 * @returns {number} 0 (left) to 1 (right)
 */
export function position(at, now) {
  const days = (at - now) / DAY_MS;
  const part =
    days >= 0
      ? NOW_AT + (bent(days) / bent(FUTURE_DAYS)) * (1 - NOW_AT)
      : NOW_AT - (bent(days) / bent(PAST_DAYS)) * NOW_AT;
  return Math.min(1, Math.max(0, part));
}

/** Marks of the line, from the left. */
export const TICKS = [
  { label: '−1 y', days: -365 },
  { label: '−1 mo', days: -30 },
  { label: 'now', days: 0 },
  { label: '1 wk', days: 7 },
  { label: '1 mo', days: 30 },
  { label: '3 mo', days: 91 },
  { label: '1 y', days: 365 },
  { label: '3 y', days: 1_095 },
  { label: '10 y', days: 3_650 },
].map((tick) => ({ ...tick, at: position(tick.days * DAY_MS, 0) }));

/**
 * How many of the moments fall into each of `slots` equal parts of the line.
 * @param {readonly number[]} moments
 * @param {number} now
 * @param {number} slots
 */
export function density(moments, now, slots) {
  const counts = new Array(slots).fill(0);
  for (const at of moments) counts[Math.min(slots - 1, Math.floor(position(at, now) * slots))]++;
  return /** @type {number[]} */ (counts);
}
