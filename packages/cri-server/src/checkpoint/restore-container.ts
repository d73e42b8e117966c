import { existsSync, mkdirSync, rmSync, statSync } from "node:fs";
import { isAbsolute, join } from "node:path";
import { OcidError, wrapError } from "@ocid/base";
import type { ContainerConfig } from "@ocid/cri-api";
import type { RuntimeSpec } from "@ocid/spec";
import type { Stage } from "../creations.ts";
import type { CallOptions, StoredImage } from "../ports.ts";
import type { Container, Sandbox } from "../records.ts";
import type { ServerContext } from "../server-context.ts";
import { findBaseImage } from "./base-image.ts";
import { plainPath } from "./plain-path.ts";
import { type Checkpoint, readCheckpoint, refuseMoreThan } from "./read-checkpoint.ts";

/** What a container is restored from: an image that is a checkpoint, or an archive of one on the node. */
export type CheckpointSource = { readonly image: StoredImage } | { readonly archive: string };

/** A checkpoint that lies ready for a container, and the image that the checkpointed one was made of. */
export interface Restore {
  readonly checkpoint: Checkpoint;
  readonly image: StoredImage;
}

const maxArchiveBytes = 128 * 2 ** 30;

/** The archive of a checkpoint that a container's config names instead of an image, as CRI-O and containerd take it. */
export function checkpointArchive(image: string): string | undefined {
  if (!isAbsolute(image)) return undefined;
  if (image.split("/").includes("..") || image.includes("\0"))
    throw new OcidError(
      "INVALID_ARGUMENT",
      `${JSON.stringify(image.slice(0, 200))} is no plain path of a checkpoint`,
    );
  if (statSync(image, { throwIfNoEntry: false })?.isFile()) return image;
  throw new OcidError(
    "NOT_FOUND",
    `${image}, from which the container is to be restored, is no file on this node`,
  );
}

/** Lays a checkpoint ready, and finds the image below it; `releaseCheckpoint` takes away what this mounts and unpacks. */
export async function openCheckpoint(
  context: ServerContext,
  sandbox: Sandbox,
  container: Container,
  source: CheckpointSource,
  options: CallOptions,
  stage: Stage,
): Promise<Restore> {
  const { ports } = context;
  if (sandbox.namespaces.user !== undefined)
    throw new OcidError(
      "FAILED_PRECONDITION",
      "a container cannot be restored in a pod with a user namespace of its own: criu gives its processes the ids of before",
    );
  await ports.runtime.checkRestore(sandbox.handler, options);
  const checkpoint = await readCheckpoint(
    ports.node,
    await place(context, container, source, options, stage),
  );
  refuseOtherMounts(container.config, checkpoint);
  stage(`image ${checkpoint.images.join(" ")} below the checkpoint`);
  const namespace = sandbox.config.metadata!.namespace;
  const image = await findBaseImage(ports.images, checkpoint.images, { ...options, namespace });
  if (image.files || image.checkpointOf !== undefined)
    throw new OcidError(
      "INVALID_ARGUMENT",
      `the checkpoint is of a container of ${image.id}, which is no image to run`,
      {
        reason: "BadCheckpoint",
      },
    );
  stage(`image policy for ${image.id}`);
  // By the names that it has here: what the checkpoint calls it may be anything.
  await ports.images.admit(image, { ...options, name: image.id, namespace });
  return { checkpoint, image };
}

async function place(
  context: ServerContext,
  container: Container,
  source: CheckpointSource,
  options: CallOptions,
  stage: Stage,
): Promise<string> {
  const { rootfs, node } = context.ports;
  if ("image" in source) {
    stage(`checkpoint image ${source.image.id}`);
    const owner = mountOwner(container.id);
    return (await rootfs.mountImage({ imageId: source.image.id, owner }, options)).path;
  }
  stage(`checkpoint archive ${source.archive}`);
  const directory = unpackedAt(context, container.id);
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  await node.unpackFiles(source.archive, directory, { ...options, maxBytes: maxArchiveBytes });
  return directory;
}

/** Brings what the checkpointed container had changed into the root file system of the new one. */
export async function bringChanges(
  { ports }: ServerContext,
  container: Container,
  { checkpoint }: Restore,
  options: CallOptions,
): Promise<void> {
  const { changes: tar, removed } = checkpoint;
  if (tar === undefined && removed.length === 0) return;
  try {
    await ports.rootfs.importChanges(container.id, { tar, removed }, options);
  } catch (error) {
    throw wrapError("what the checkpointed container had changed cannot be brought in", error);
  }
}

/** Only the new configuration decides what a container may do and see. */
export function refuseByConfiguration({ checkpoint }: Restore, spec: RuntimeSpec): void {
  const given = new Set((spec.mounts ?? []).map(({ destination }) => plainPath(destination)));
  const missing = checkpoint.bindMounts.filter(path => !given.has(plainPath(path)));
  if (missing.length > 0)
    throw new OcidError(
      "FAILED_PRECONDITION",
      `the checkpointed container had something of the node mounted at ${shown(missing)}; give the new one mounts there too`,
      { reason: "MountsDiffer" },
    );
  refuseMoreThan(checkpoint.processes, spec);
}

/** Processes keep the mounts that they had: one more they would not see. */
function refuseOtherMounts(config: ContainerConfig, checkpoint: Checkpoint): void {
  const had = new Set(checkpoint.bindMounts.map(path => plainPath(path)));
  const more = config.mounts.map(mount => mount.containerPath).filter(path => !had.has(plainPath(path)));
  if (more.length > 0)
    throw new OcidError(
      "FAILED_PRECONDITION",
      `the checkpointed container had nothing mounted at ${shown(more)}, so the restored one would not see it; leave it out`,
      { reason: "MountsDiffer" },
    );
}

/** Takes away what `openCheckpoint` has laid ready; a repeat is no error. */
export async function releaseCheckpoint(context: ServerContext, id: string): Promise<void> {
  await context.ports.rootfs.unmountImages(mountOwner(id));
  const directory = unpackedAt(context, id);
  if (existsSync(directory)) rmSync(directory, { recursive: true, force: true });
}

function mountOwner(id: string): string {
  return `${id}-checkpoint`;
}

function unpackedAt({ records }: ServerContext, id: string): string {
  return join(records.containerDirectory(id), "restore");
}

function shown(paths: readonly string[]): string {
  return paths
    .map(path => JSON.stringify(path.slice(0, 200)))
    .join(", ")
    .slice(0, 1000);
}
