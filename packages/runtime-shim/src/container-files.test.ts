import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { RuntimeProcess } from "@ocid/spec";
import { expect, test } from "vitest";
import { ShimFiles } from "./container-files.ts";
import { execCommand } from "./exec-command.ts";

test("what a killed program has left of its commands goes with their container, and nothing of another's", () => {
  const root = mkdtempSync(join(tmpdir(), "container-files-"));
  try {
    const files = new ShimFiles(join(root, "state"), join(root, "run"));
    expect(() => files.removeRunning("c1")).not.toThrow();
    const runtime = { name: "runc", path: "/runc", type: "oci", root, globalArguments: [] } as const;
    const process = { args: ["true"] } as unknown as RuntimeProcess;
    for (const id of ["c1", "c10", "xc1"]) execCommand(files, runtime, id, process);
    // As runc does before it renames the file.
    for (const name of readdirSync(files.running))
      writeFileSync(join(root, "run/running", `.${name.replace(/json$/, "pid")}`), "7");
    files.removeRunning("c1");
    const left = readdirSync(files.running).map(name => name.replace(/@.*\./, "@"));
    expect(left.sort()).toEqual([".c10@pid", ".xc1@pid", "c10@json", "xc1@json"]);
  } finally {
    rmSync(root, { recursive: true });
  }
});

test("a container's end goes with what a killed monitor had begun to write of it, and nothing of another's", () => {
  const root = mkdtempSync(join(tmpdir(), "container-files-"));
  try {
    const files = new ShimFiles(root);
    expect(() => files.removeExit("c1")).not.toThrow();
    for (const id of ["c1", "c1.abcdef", "c10"]) mkdirSync(join(files.containers, id), { recursive: true });
    mkdirSync(files.exits);
    const left = ["c1.abcdef", "c1.abcdef.Q3RGZ3", "c1.later", "c10", "c10.Q3RGZ3"];
    for (const name of [...left, "c1", "c1.Q3RGZ3", "c1.ZGR3Q3"]) writeFileSync(join(files.exits, name), "0");
    files.removeExit("c1");
    expect(readdirSync(files.exits).sort()).toEqual(left);
  } finally {
    rmSync(root, { recursive: true });
  }
});
