import { barCell, textCell } from "./cells.js";
import { createTable } from "./table.js";
import { formatBytes } from "./units.js";

export const images = createTable({
  id: "images",
  empty: "No image is in the store.",
  key: (/** @type {import("../sections.ts").ImageRow} */ row) => row.id,
  find: row => [...row.names, row.id],
  sorted: [2, true],
  columns: [
    {
      title: "Image",
      kind: "main",
      sort: row => row.names[0] ?? "",
      cell: textCell(
        row => row.names[0] ?? "no name",
        row => row.names.slice(1).join(" "),
      ),
    },
    { title: "Id", sort: row => row.id, cell: textCell(row => row.id) },
    { title: "Size", kind: "number", sort: row => row.bytes, cell: textCell(row => formatBytes(row.bytes)) },
    {
      title: "Freed if removed",
      kind: "number",
      sort: row => row.exclusiveBytes,
      cell: textCell(row => (row.containers > 0 ? "in use" : formatBytes(row.exclusiveBytes))),
    },
    {
      title: "Containers",
      kind: "number",
      sort: row => row.containers,
      cell: textCell(row => String(row.containers)),
    },
  ],
});

export const pulls = createTable({
  id: "pulls",
  empty: "No image is being pulled.",
  key: (/** @type {import("../sections.ts").PullRow} */ row) => row.image,
  find: row => [row.image],
  sorted: [0, false],
  columns: [
    { title: "Image", kind: "main", sort: row => row.image, cell: textCell(row => row.image) },
    {
      title: "Copied",
      kind: "wide",
      sort: row => row.copiedBytes,
      cell: barCell(
        "copied",
        ({ copiedBytes, totalBytes }) => (totalBytes > 0 ? copiedBytes / totalBytes : undefined),
        ({ copiedBytes, totalBytes }) =>
          totalBytes > 0 ? `${formatBytes(copiedBytes)} of ${formatBytes(totalBytes)}` : "beginning",
      ),
    },
  ],
});
