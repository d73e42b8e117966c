import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { repository } from "../run.ts";

const rows = readFileSync(join(repository, "docs/security/known-attacks.md"), "utf8")
  .split("\n")
  .filter(line => /^\| (CVE|GHSA)-/.test(line))
  .map(line => line.split("|").map(cell => cell.trim()));

test("each identifier is there once, and whether it is met", () => {
  expect(rows.length).toBeGreaterThanOrEqual(60);
  expect(new Set(rows.map(([, id]) => id)).size).toBe(rows.length);
  for (const [, id, , , met] of rows) {
    expect(id).toMatch(/^(CVE-20\d\d-\d{4,}|GHSA(-[a-z0-9]{4}){3})$/);
    expect(met).toMatch(/^(yes$|partly: .|no: .)/);
  }
});

test("each attack that is met has a test, which exists", () => {
  for (const [, id, , , met, named] of rows) {
    if (met !== "yes" || named !== "") expect(named, id).toMatch(/^`[^`]+`: .|^$/);
    if (met === "yes") expect(named, id).not.toBe("");
    if (!named) continue;
    const [, file, name] = /^`([^`]+)`: (.+)$/.exec(named)!;
    expect(readFileSync(join(repository, file!), "utf8"), id).toContain(`"${name}"`);
  }
});
