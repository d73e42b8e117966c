import { element, svg } from "./cells.js";

/** Looks that a chart shows: two minutes. */
export const kept = 60;
const width = 80;
const height = 22;

/**
 * A line over the last looks, the newest at the right, as the `d` of two SVG paths; empty with less than two values.
 *
 * @param {readonly number[]} values
 * @param {number} most value at the upper edge
 * @returns {{ line: string, area: string }}
 */
export function chartPaths(values, most) {
  if (values.length < 2) return { line: "", area: "" };
  const step = width / (kept - 1);
  const x = (/** @type {number} */ at) => round(width - (values.length - 1 - at) * step);
  const y = (/** @type {number} */ value) =>
    round(height - 1 - (Math.min(value, most) / most) * (height - 2));
  const line = values.map((value, at) => `${at === 0 ? "M" : "L"}${x(at)} ${y(value)}`).join("");
  return { line, area: `${line}L${width} ${height}L${x(0)} ${height}Z` };
}

/** @param {number} value */
function round(value) {
  return Math.round(value * 10) / 10;
}

/**
 * Texts with a chart of one value beside them.
 *
 * @template Row
 * @param {object} options
 * @param {string} options.name of the value: the chart's colour, and what it is called aloud
 * @param {number} options.least the scale's end while values are smaller
 * @param {(row: Row) => { at: number, value: number | null, texts: readonly string[] } | undefined} options.read
 * @returns {() => import("./cells.js").Cell<Row>}
 */
export function chartCell({ name, least, read }) {
  return () => {
    const area = svg("path", { class: "area" });
    const line = svg("path", { class: "line" });
    const picture = svg("svg", {
      viewBox: `0 0 ${width} ${height}`,
      preserveAspectRatio: "none",
      role: "img",
    });
    picture.append(area, line);
    const texts = element("span", "numbers");
    const cell = element("div", `chart ${name}`);
    cell.append(texts, picture);
    /** @type {number[]} */
    let values = [];
    let last = 0;
    return {
      element: cell,
      update(row) {
        const now = read(row);
        cell.classList.toggle("off", now === undefined);
        if (now === undefined) {
          values = [];
          return;
        }
        if (now.at === last) return;
        last = now.at;
        if (now.value !== null) values = [...values, now.value].slice(-kept);
        const paths = chartPaths(values, Math.max(least, ...values));
        line.setAttribute("d", paths.line);
        area.setAttribute("d", paths.area);
        picture.setAttribute("aria-label", `${name}: ${now.texts.join(", ")}`);
        texts.replaceChildren(...now.texts.map(text => element("span", "", text)));
      },
    };
  };
}
