import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { repository } from "../run.ts";

test("the tests that the threat model names exist", () => {
  const text = readFileSync(join(repository, "SECURITY.md"), "utf8");
  const named = [...text.matchAll(/`([\w./-]+\.test\.ts)`/g)].map(match => match[1]!);
  expect(named.length).toBeGreaterThan(10);
  expect(named.filter(path => !existsSync(join(repository, path)))).toEqual([]);
});
