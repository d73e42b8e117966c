const units = ["B", "kB", "MB", "GB", "TB"];

/** Bytes for people, in powers of 1000 as image sizes are quoted: `4.27 MB`. */
export function formatBytes(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  const digits = unit === 0 || value >= 100 ? 0 : value >= 10 ? 1 : 2;
  return `${value.toFixed(digits)} ${units[unit]}`;
}

/** Time since then for people: `3 minutes ago`. */
export function formatAge(then: Date, now: Date = new Date()): string {
  const seconds = Math.max(0, Math.round((now.getTime() - then.getTime()) / 1000));
  const [size, unit] = ages.find(([length]) => seconds >= length) ?? ages.at(-1)!;
  const count = Math.floor(seconds / size);
  return `${count} ${unit}${count === 1 ? "" : "s"} ago`;
}

const ages: readonly (readonly [number, string])[] = [
  [365 * 86_400, "year"],
  [30 * 86_400, "month"],
  [7 * 86_400, "week"],
  [86_400, "day"],
  [3_600, "hour"],
  [60, "minute"],
  [1, "second"],
];

/** The first 12 characters of an id or digest, which is what people compare. */
export function shortId(id: string): string {
  return id.replace(/^sha256:/, "").slice(0, 12);
}
