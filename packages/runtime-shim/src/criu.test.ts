import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { RuntimeSpec } from "@ocid/spec";
import { afterEach, beforeEach, expect, test } from "vitest";
import { ShimFiles } from "./container-files.ts";
import { criuErrors, errorsInLog, refuseWithoutCriu, restorableSpec } from "./criu.ts";

let directory: string;
const path = process.env["PATH"];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "criu-"));
});

afterEach(() => {
  process.env["PATH"] = path;
  rmSync(directory, { recursive: true });
});

test("a node whose criu cannot work is told with its reason", async () => {
  process.env["PATH"] = directory;
  const script = "#!/bin/sh\necho 'Error (criu/vdso.c:381): vdso: no bounds'\nexit 1\n";
  writeFileSync(join(directory, "criu"), script, { mode: 0o755 });
  await expect(refuseWithoutCriu("restore containers", {})).rejects.toMatchObject({
    code: "FAILED_PRECONDITION",
    reason: "CriuUnusable",
    message: "this node cannot restore containers: criu check ended with 1: vdso: no bounds",
  });
});

test("of a log its errors are told, without times, pids and places in the source", () => {
  const log = join(directory, "restore.log");
  const lines = [
    "(00.000010) Version: 3.17.1",
    "(00.100000) Warn  (criu/cr-restore.c:1297): Set CLONE_PARENT",
    "(00.211111)      1: Error (criu/mem.c:10): pages do not fit",
    "(00.300000) Error (criu/cr-restore.c:2531): Restoring FAILED.",
  ];
  writeFileSync(log, lines.join("\n"));
  expect(errorsInLog(log)).toBe("pages do not fit; Restoring FAILED.");
  expect(errorsInLog(join(directory, "none"))).toBe("");
  expect(criuErrors(`Error (x.c:1): ${"long ".repeat(500)}`).length).toBe(500);
});

test("a restore's configuration names a file for criu that leaves the cgroups of before", () => {
  const files = { ...new ShimFiles(directory).of("abc"), bundle: directory };
  const spec = { annotations: { a: "b" } } as unknown as RuntimeSpec;
  const { annotations } = restorableSpec(files, "/usr/sbin/runc", spec);
  expect(annotations).toEqual({ a: "b", "org.criu.config": join(directory, "criu.conf") });
  expect(readFileSync(annotations!["org.criu.config"]!, "utf8")).toMatch(/^manage-cgroups=ignore$/m);
});
