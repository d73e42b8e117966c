import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { RuntimeProcess } from "@ocid/spec";
import { afterEach, beforeEach, expect, test } from "vitest";
import { ShimFiles } from "./container-files.ts";
import { execSync } from "./exec.ts";

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "exec-"));
});
afterEach(() => rmSync(root, { recursive: true }));

test("a command whose time is over before its runtime has told its pid is killed all the same", async () => {
  // As runtimes do: what is run leads a session of its own, and runs before its pid is written.
  const path = join(root, "runtime");
  writeFileSync(
    path,
    `#!/bin/sh
while [ "$1" != --pid-file ]; do shift; done
setsid sleep 4321 &
echo $! >${root}/started
sleep 0.3
echo $! >"$2"
wait
`,
    { mode: 0o755 },
  );
  const files = new ShimFiles(root);
  const runtime = { name: "slow", path, type: "oci", root, globalArguments: [] } as const;
  const process = { args: ["sleep", "4321"] } as unknown as RuntimeProcess;
  await expect(execSync(files, runtime, "c", { process, timeoutMs: 100 }, {})).rejects.toMatchObject({
    code: "DEADLINE_EXCEEDED",
    message: expect.stringContaining("timed out after 0.1 s"),
  });
  const pid = Number(readFileSync(join(root, "started"), "utf8"));
  expect(() => globalThis.process.kill(pid, 0)).toThrow(/ESRCH/);
  expect(readdirSync(files.running)).toEqual([]);
});
