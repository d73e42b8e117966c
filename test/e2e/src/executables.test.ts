import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { expect, test } from "vitest";

test.each(["ocic", "ocid"])("%s starts with what was compiled in its build, without a warning", app => {
  const executable = join(import.meta.dirname, "../../../apps", app, "dist", app);
  const { status, stdout, stderr } = spawnSync(executable, ["--help"], { encoding: "utf8" });
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  expect(stdout).toContain(app);
});
