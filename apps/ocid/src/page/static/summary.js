import { element, setText } from "./cells.js";
import { formatBytes, plural } from "./units.js";

/** @typedef {import("../sections.ts").Sections} Sections */

/**
 * @typedef {object} Fact
 * @property {string} title
 * @property {(known: Partial<Sections>) => readonly [value: string, more: string, mark?: "good" | "bad" | "off"] | undefined} read
 */

/** @type {readonly Fact[]} */
const facts = [
  {
    title: "Pods",
    read: ({ pods }) => pods && [String(count(pods, "ready")), `ready of ${pods.total}`],
  },
  {
    title: "Containers",
    read: ({ containers }) =>
      containers && [String(count(containers, "running")), `running of ${containers.total}`],
  },
  {
    title: "Images",
    read: ({ images, store }) =>
      images && [String(images.total), store ? `${formatBytes(store.imageBytes)} on disk` : ""],
  },
  {
    title: "Store",
    read({ store }) {
      if (!store) return undefined;
      const share = store.diskBytes === 0 ? 0 : 1 - store.diskFree / store.diskBytes;
      return [
        formatBytes(store.imageBytes + store.containerBytes),
        `disk ${Math.round(share * 100)} % full`,
        share > 0.95 ? "bad" : "off",
      ];
    },
  },
  {
    title: "Pulls",
    read({ pulls }) {
      if (!pulls) return undefined;
      const left = pulls.rows.reduce((sum, { totalBytes, copiedBytes }) => sum + totalBytes - copiedBytes, 0);
      return [String(pulls.total), pulls.total === 0 ? "none under way" : `${formatBytes(left)} to go`];
    },
  },
  {
    title: "Doctor",
    read({ doctor }) {
      if (!doctor) return ["…", "looking"];
      if (doctor.failure !== null) return ["?", "not known", "bad"];
      const problems = count(doctor.findings, "problem", "severity");
      const advice = doctor.findings.total - problems;
      const more = advice === 0 ? "" : `and ${advice} to consider`;
      return problems === 0 ? ["well", more, "good"] : [plural(problems, "problem"), more, "bad"];
    },
  },
];

/**
 * @param {{ rows: readonly object[] }} list
 * @param {string} state
 * @param {string} [key]
 */
function count({ rows }, state, key = "state") {
  return rows.filter(row => /** @type {Record<string, unknown>} */ (row)[key] === state).length;
}

/**
 * The row of numbers above the tables.
 *
 * @returns {(known: Partial<Sections>) => void} brings it up to date
 */
export function createSummary() {
  const list = /** @type {HTMLElement} */ (document.getElementById("summary"));
  const parts = facts.map(({ title, read }) => {
    const group = element("div");
    const value = element("dd", "value", "…");
    const more = element("dd", "more");
    group.append(element("dt", "", title), value, more);
    list.append(group);
    return { read, group, value, more };
  });
  return known => {
    for (const { read, group, value, more } of parts) {
      const [text = "…", small = "", mark = "off"] = read(known) ?? [];
      setText(value, text);
      setText(more, small);
      group.dataset["mark"] = mark;
    }
  };
}
