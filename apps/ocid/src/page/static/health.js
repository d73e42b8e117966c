import { stateCell, textCell } from "./cells.js";
import { createTable } from "./table.js";
import { formatTime } from "./units.js";

export const doctor = createTable({
  id: "doctor",
  empty: "",
  key: (/** @type {import("../sections.ts").FindingRow} */ row) => `${row.kind} ${row.what}`,
  find: row => [row.kind, row.what, row.why, row.remedy],
  sorted: [0, true],
  columns: [
    {
      title: "Severity",
      sort: row => row.severity,
      cell: stateCell(
        row => row.severity,
        row => (row.severity === "problem" ? "bad" : "off"),
        row => row.kind,
      ),
    },
    {
      title: "Finding",
      kind: "main",
      sort: row => row.what,
      cell: textCell(
        row => row.what,
        row => row.why,
      ),
    },
    { title: "What to do", kind: "wide", sort: row => row.remedy, cell: textCell(row => row.remedy) },
  ],
});

export const events = createTable({
  id: "events",
  empty: "Nothing has happened since the daemon started.",
  key: (/** @type {import("../sections.ts").EventRow} */ row) => `${row.at} ${row.what} ${row.subject}`,
  find: row => [row.what, row.subject, row.detail],
  sorted: [0, true],
  columns: [
    { title: "Time", sort: row => row.at, cell: textCell(row => formatTime(row.at)) },
    {
      title: "Event",
      sort: row => row.what,
      cell: stateCell(
        row => row.what,
        row => (row.problem ? "bad" : "off"),
      ),
    },
    {
      title: "Of",
      kind: "main",
      sort: row => row.subject,
      cell: textCell(
        row => row.subject,
        row => row.detail,
      ),
    },
  ],
});
