const units = ["B", "kB", "MB", "GB", "TB"];

/**
 * Bytes for people, in powers of 1000 as image sizes are quoted: `4.27 MB`.
 *
 * @param {number} bytes
 * @returns {string}
 */
export function formatBytes(bytes) {
  let value = bytes;
  let unit = 0;
  // What would be rounded to 1000 is one of the next unit.
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  const digits = unit === 0 || value >= 99.5 ? 0 : value >= 9.95 ? 1 : 2;
  return `${value.toFixed(digits)} ${units[unit]}`;
}

/**
 * @param {number | null} rate null is not known yet
 * @returns {string}
 */
export function formatRate(rate) {
  return rate === null ? "…" : `${formatBytes(Math.round(rate))}/s`;
}

/**
 * @param {number | null} percent
 * @returns {string}
 */
export function formatPercent(percent) {
  return percent === null ? "…" : `${percent.toFixed(percent >= 99.95 ? 0 : 1)} %`;
}

/** @type {readonly (readonly [number, string])[]} */
const ages = [
  [86_400, "d"],
  [3_600, "h"],
  [60, "min"],
  [1, "s"],
];

/**
 * How long ago something was: `3 min`, `2 h`.
 *
 * @param {number} at milliseconds since the epoch
 * @param {number} [now]
 * @returns {string}
 */
export function formatAge(at, now = Date.now()) {
  const seconds = Math.max(0, Math.floor((now - at) / 1000));
  const [size, unit] = ages.find(([length]) => seconds >= length) ?? [1, "s"];
  return `${Math.floor(seconds / size)} ${unit}`;
}

/**
 * @param {number} count
 * @param {string} one
 * @returns {string}
 */
export function plural(count, one) {
  return `${count} ${one}${count === 1 ? "" : "s"}`;
}

/**
 * Time of the day: `14:03:07`.
 *
 * @param {number} at milliseconds since the epoch
 * @returns {string}
 */
export function formatTime(at) {
  return new Date(at).toLocaleTimeString("en-GB");
}

/**
 * @param {readonly (number | null | undefined)[]} values
 * @returns {number | null} null when one is not known
 */
export function sum(...values) {
  return values.reduce(
    (/** @type {number | null} */ total, value) => (total === null || value == null ? null : total + value),
    0,
  );
}
