import { element, setText } from "./cells.js";

/**
 * @template Row
 * @typedef {object} Column
 * @property {string} title
 * @property {"number" | "wide" | "main" | "state"} [kind] how it is laid out; `main` is the row's own name
 * @property {(row: Row) => string | number} sort what the column is sorted by
 * @property {() => import("./cells.js").Cell<Row>} cell
 */

/**
 * @template Row
 * @typedef {object} TableOptions
 * @property {string} id of the section that it is put into
 * @property {string} empty shown while there is no row
 * @property {(row: Row) => string} key
 * @property {(row: Row) => readonly string[]} find texts that the filter looks in
 * @property {readonly Column<Row>[]} columns
 * @property {readonly [column: number, descending: boolean]} sorted at first
 */

/**
 * @template Row
 * @typedef {object} Entry
 * @property {Row} row
 * @property {HTMLElement} line
 * @property {readonly import("./cells.js").Cell<Row>[]} cells
 */

/**
 * The order of rows by a column; what is equal stays as it came.
 *
 * @template Row
 * @param {readonly Row[]} rows
 * @param {(row: Row) => string | number} value
 * @param {boolean} descending
 * @returns {Row[]}
 */
export function sortRows(rows, value, descending) {
  const sign = descending ? -1 : 1;
  return rows.toSorted((one, other) => {
    const [a, b] = [value(one), value(other)];
    const order =
      typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en");
    return sign * order;
  });
}

/**
 * Whether one of the texts has all words of the filter, in whatever case.
 *
 * @param {readonly string[]} texts
 * @param {string} filter
 * @returns {boolean}
 */
export function matches(texts, filter) {
  const all = texts.join("\n").toLowerCase();
  return filter
    .toLowerCase()
    .split(/\s+/)
    .every(word => all.includes(word));
}

/**
 * A table whose rows keep their place in the document for as long as they are there, sorted by a click on a heading.
 * Roles are named, because the style of narrow screens takes tables apart.
 *
 * @template Row
 * @param {TableOptions<Row>} options
 * @returns {{ show(rows: readonly Row[], total?: number): void, filter(text: string): void }}
 */
export function createTable({ id, empty, key, find, columns, sorted }) {
  const section = /** @type {HTMLElement} */ (document.getElementById(id));
  const heading = /** @type {HTMLElement} */ (section.querySelector("h2"));
  const count = element("span", "count");
  heading.append(count);
  const nothing = element("p", "empty", empty);
  const table = element("table");
  const head = element("thead");
  const headings = element("tr");
  const body = element("tbody");
  table.append(head, body);
  head.append(headings);
  table.setAttribute("role", "table");
  table.setAttribute("aria-labelledby", heading.id);
  head.setAttribute("role", "rowgroup");
  headings.setAttribute("role", "row");
  body.setAttribute("role", "rowgroup");
  section.append(table, nothing);

  let [by, descending] = sorted;
  let filter = "";
  let total = 0;
  /** @type {Map<string, Entry<Row>>} */
  let entries = new Map();

  const cells = columns.map(({ title, kind = "" }, at) => {
    const cell = element("th", kind);
    const button = element("button", "", title);
    button.setAttribute("type", "button");
    button.addEventListener("click", () => {
      descending = at === by ? !descending : kind === "number";
      by = at;
      arrange();
    });
    cell.setAttribute("role", "columnheader");
    cell.setAttribute("scope", "col");
    cell.append(button);
    headings.append(cell);
    return cell;
  });

  function arrange() {
    for (const [at, cell] of cells.entries())
      cell.setAttribute("aria-sort", at !== by ? "none" : descending ? "descending" : "ascending");
    const ordered = sortRows([...entries.values()], ({ row }) => columns[by]?.sort(row) ?? "", descending);
    let shown = 0;
    let before = body.firstElementChild;
    for (const { row, line } of ordered) {
      line.hidden = !matches(find(row), filter);
      if (!line.hidden) shown++;
      // Moved only where it has to be: moving takes the browser's time, and a selection with it.
      if (line === before) before = before.nextElementSibling;
      else body.insertBefore(line, before);
    }
    table.hidden = shown === 0;
    nothing.hidden = shown > 0;
    setText(nothing, total === 0 ? empty : "Nothing here matches the filter.");
    setText(count, shown === total ? String(total) : `${shown} of ${total}`);
  }

  /** @param {Row} row */
  function addLine(row) {
    const line = element("tr");
    line.setAttribute("role", "row");
    const made = columns.map(({ title, kind = "", cell }) => {
      const place = element("td", kind);
      const content = cell();
      place.setAttribute("role", "cell");
      place.dataset["title"] = title;
      place.append(content.element);
      line.append(place);
      return content;
    });
    return { row, line, cells: made };
  }

  return {
    show(rows, all = rows.length) {
      const next = new Map(rows.map(row => [key(row), { ...(entries.get(key(row)) ?? addLine(row)), row }]));
      for (const [name, { line }] of entries) if (!next.has(name)) line.remove();
      for (const { row, cells: parts } of next.values()) for (const part of parts) part.update(row);
      entries = next;
      total = all;
      arrange();
    },
    filter(text) {
      filter = text.trim();
      arrange();
    },
  };
}
