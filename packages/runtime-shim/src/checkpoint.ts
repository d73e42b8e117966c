import { existsSync } from "node:fs";
import { join } from "node:path";
import { OcidError } from "@ocid/base";
import { findExecutable, runProcess } from "@ocid/host";
import { type InstalledRuntime, runRuntime } from "./runtimes.ts";
import type { CallOptions } from "./types.ts";

export interface CheckpointRequest {
  /** Gets the directory `checkpoint` with the processes, and beside it `dump.log` and `stats-dump`. */
  readonly directory: string;
  /** What else is to be read while the container stands still. */
  readonly then: () => Promise<void>;
}

/** Freezes a container, has criu write its processes, and lets it go on whatever happens. */
export async function checkpoint(
  runtime: InstalledRuntime,
  id: string,
  request: CheckpointRequest,
  options: CallOptions,
): Promise<void> {
  const { directory } = request;
  await refuseWithoutCriu(options);
  await runRuntime(runtime, ["pause", id], options);
  try {
    const images = join(directory, "checkpoint");
    const places = ["--image-path", images, "--work-path", directory];
    await runRuntime(runtime, ["checkpoint", ...places, "--leave-running", "--file-locks", id], {
      ...options,
      timeoutMs: 600_000,
    });
    if (!existsSync(images))
      throw new OcidError("INTERNAL", `${runtime.name} says that it made a checkpoint, but there is none`);
    await request.then();
  } finally {
    // Also when the caller has gone: nobody else would let it go on.
    await runRuntime(runtime, ["resume", id]);
  }
}

/** FAILED_PRECONDITION with what criu misses; asked each time, because a kernel or a package may have changed. */
async function refuseWithoutCriu(options: CallOptions): Promise<void> {
  const path = findExecutable("criu");
  if (path === undefined)
    throw new OcidError(
      "FAILED_PRECONDITION",
      "this node cannot make checkpoints: criu is not installed; install criu",
      { reason: "CriuMissing" },
    );
  const { code, stdout, stderr } = await runProcess({ path, args: ["check"], timeoutMs: 30_000, ...options });
  if (code === 0) return;
  const said = `${stdout}${stderr}`
    .split("\n")
    .filter(line => /error|warn|fail/i.test(line))
    .map(line => line.replace(/^\w+ \(([^)]*)\): /, "").trim())
    .join("; ")
    .slice(0, 500);
  throw new OcidError(
    "FAILED_PRECONDITION",
    `this node cannot make checkpoints: criu check ended with ${code}: ${said || "no reason given"}`,
    { reason: "CriuUnusable" },
  );
}
