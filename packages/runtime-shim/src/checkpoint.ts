import { existsSync } from "node:fs";
import { join } from "node:path";
import { OcidError } from "@ocid/base";
import { refuseWithoutCriu } from "./criu.ts";
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
  await refuseWithoutCriu("make checkpoints", options);
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
