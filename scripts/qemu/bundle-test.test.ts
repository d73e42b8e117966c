import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { afterAll, expect, test } from "vitest";
import { repository } from "../run.ts";
import { bundleTest } from "./bundle-test.ts";

const directory = mkdtempSync(join(tmpdir(), "ocid-bundle-test-"));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

/** Runs a test file as the guest does. */
async function runInGuest(text: string): Promise<{ code: number | null; output: string }> {
  const source = join(directory, "a.test.ts");
  writeFileSync(source, text);
  const bundled = join(directory, "a.test.mjs");
  writeFileSync(bundled, await bundleTest(relative(repository, source)));
  const { status, stdout } = spawnSync(process.execPath, ["--test-reporter=spec", bundled], {
    encoding: "utf8",
    env: { PATH: process.env["PATH"], NO_COLOR: "1" },
  });
  return { code: status, output: stdout };
}

test("a file of tests passes, with a line for each", async () => {
  const { code, output } = await runInGuest(`
    import { afterAll, beforeAll, describe, expect, test } from "vitest";
    let ready = 0;
    beforeAll(async () => { ready++; });
    afterAll(() => { ready--; });
    test.each([["one", 1], ["two", 2]])("%s is told", (_: string, n: number) => {
      expect({ n, ready }).toMatchObject({ n: expect.any(Number), ready: 1 });
    });
    describe("inside", () => {
      test("rejects", () => expect(Promise.reject(new Error("no"))).rejects.toThrow(/no/));
    });`);
  expect(code).toBe(0);
  expect(output).toMatch(/✔ one is told[\s\S]*✔ two is told[\s\S]*▶ inside[\s\S]*✔ rejects[\s\S]*pass 3/);
});

test.each([
  ["a test", `test("x", () => { expect(1).toBe(2); });`],
  [
    "a test that is awaited",
    `test("x", async () => { await expect(Promise.resolve(1)).resolves.toBe(2); });`,
  ],
  ["what comes before", `beforeAll(() => { throw new Error("no"); }); test("x", () => {});`],
  ["what comes after", `afterAll(() => { throw new Error("left behind"); }); test("x", () => {});`],
])("%s that fails fails the file", async (_, body) => {
  const { code } = await runInGuest(`import { afterAll, beforeAll, expect, test } from "vitest";\n${body}`);
  expect(code).toBe(1);
});
