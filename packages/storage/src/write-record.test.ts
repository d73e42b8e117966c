import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { writeRecord } from "./write-record.ts";

test.each([
  ["a disk", tmpdir()],
  ["a tmpfs", "/dev/shm"],
])("a record on %s is the old one or the new one, and nothing is left beside it", async (_, parent) => {
  const root = mkdtempSync(join(parent, "write-record-"));
  try {
    const path = join(root, "below/records.json");
    for (const [content, lasting] of [
      ["[]", true],
      ['["new"]', false],
    ] as const) {
      await writeRecord(path, content, { lasting });
      expect(readFileSync(path, "utf8")).toBe(content);
    }
    expect(readdirSync(join(root, "below"))).toEqual(["records.json"]);
    expect(statSync(path).mode & 0o777).toBe(0o600);
  } finally {
    rmSync(root, { recursive: true });
  }
});
