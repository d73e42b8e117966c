import { copyFileSync, existsSync, mkdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname, isAbsolute, join } from "node:path";
import { OcidError } from "@ocid/base";
import type { CheckpointContainerRequest } from "@ocid/cri-api";
import type { CallOptions } from "../ports.ts";
import type { Container } from "../records.ts";
import type { ServerContext } from "../server-context.ts";
import { configDump, externalMounts, logPathName, specDump } from "./checkpoint-files.ts";

/**
 * Writes a running container as an archive: its processes as criu sees them, what it has changed of its root file
 * system, its configuration and its log. The container goes on. The archive holds all its memory: only root reads it.
 */
export async function checkpointContainer(
  context: ServerContext,
  request: CheckpointContainerRequest,
  options: CallOptions,
): Promise<void> {
  const { ports, records } = context;
  const container = records.getContainer(request.containerId);
  checkLocation(request.location);
  const timeout = timeoutOf(request, options);
  await context.locks.run(`container ${container.id}`, async () => {
    const state = await ports.runtime.state(container.id);
    if (state.status !== "running")
      throw new OcidError(
        "FAILED_PRECONDITION",
        `container ${container.id.slice(0, 13)} is ${state.status}; only one that runs can be checkpointed`,
      );
    // Goes with the container, should the daemon die in between.
    const directory = join(records.containerDirectory(container.id), "checkpoint");
    rmSync(directory, { recursive: true, force: true });
    mkdirSync(directory, { mode: 0o700 });
    try {
      await describe(context, container, directory);
      const then = () => copyFiles(context, container, directory, timeout);
      await ports.runtime.checkpoint(container.id, { directory, then }, timeout);
      await ports.node.archive(directory, request.location, timeout);
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  });
}

function checkLocation(location: string): void {
  if (!isAbsolute(location) || location.includes("\0") || location.split("/").includes(".."))
    throw new OcidError(
      "INVALID_ARGUMENT",
      `the location of a checkpoint should be an absolute path, found ${JSON.stringify(location.slice(0, 200))}`,
    );
  if (!statSync(dirname(location), { throwIfNoEntry: false })?.isDirectory())
    throw new OcidError(
      "INVALID_ARGUMENT",
      `${dirname(location)}, where the checkpoint should go, is no directory`,
    );
  if (statSync(location, { throwIfNoEntry: false })?.isFile() === false)
    throw new OcidError("INVALID_ARGUMENT", `${location} is there and is no file`);
}

/** 0 and less is none (CheckpointContainerRequest.timeout, in seconds). */
function timeoutOf({ timeout }: CheckpointContainerRequest, { signal }: CallOptions): CallOptions {
  if (timeout <= 0n) return { signal };
  const late = AbortSignal.timeout(Math.min(Number(timeout) * 1000, 2 ** 31 - 1));
  return { signal: signal ? AbortSignal.any([signal, late]) : late };
}

async function describe(context: ServerContext, container: Container, directory: string): Promise<void> {
  const { ports, records } = context;
  const sandbox = records.sandboxes.get(container.sandboxId);
  const spec = await ports.runtime.specOf(container.id);
  const { name } = await ports.runtime.version(sandbox?.handler);
  const write = (file: string, value: unknown) =>
    writeFileSync(join(directory, file), JSON.stringify(value, undefined, 2), { mode: 0o600 });
  write("config.dump", configDump(container, sandbox, name, new Date()));
  write("spec.dump", specDump(spec, container, sandbox));
  write(
    "bind.mounts",
    externalMounts(spec, path => statSync(path)),
  );
}

/** What has to fit the processes: read while they stand still. */
async function copyFiles(
  { ports }: ServerContext,
  container: Container,
  directory: string,
  options: CallOptions,
): Promise<void> {
  const removed = await ports.rootfs.exportChanges(container.id, join(directory, "rootfs-diff.tar"), options);
  if (removed.length > 0)
    writeFileSync(join(directory, "deleted.files"), JSON.stringify(removed), { mode: 0o600 });
  if (container.logPath !== undefined && existsSync(container.logPath))
    copyFileSync(container.logPath, join(directory, logPathName));
}
