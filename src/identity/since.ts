const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** A duration as a person says it: `3 days`, `5 hours`, `1 minute`. @param ms milliseconds */
export function ago(ms: number): string {
  if (ms >= DAY) return plural(Math.floor(ms / DAY), 'day');
  if (ms >= HOUR) return plural(Math.floor(ms / HOUR), 'hour');
  if (ms >= MINUTE) return plural(Math.floor(ms / MINUTE), 'minute');
  return plural(Math.max(0, Math.floor(ms / 1000)), 'second');
}

/** ISO 8601 without milliseconds: certificates have none either. Never throws. */
export function isoSeconds(time: number): string {
  const date = new Date(time);
  return Number.isNaN(date.getTime()) ? 'an unreadable time' : `${date.toISOString().slice(0, 19)}Z`;
}

const plural = (count: number, unit: string) => `${count} ${unit}${count === 1 ? '' : 's'}`;
