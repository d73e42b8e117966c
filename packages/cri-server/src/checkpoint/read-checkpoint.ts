import { lstatSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { OcidError } from "@ocid/base";
import type { RuntimeSpec } from "@ocid/spec";
import type { NodePort } from "../ports.ts";
import { refuseMounts } from "./process-mounts.ts";
import { refusePrivileges } from "./process-privileges.ts";

/** A checkpoint as it lies on the node, read and checked as what it is: anybody's. */
export interface Checkpoint {
  /** Which image the container was made of: the references that config.dump gives, the most exact one first. */
  readonly images: readonly string[];
  /** When it was made; empty where it does not say. */
  readonly checkpointedAt: string;
  /** Directory with what criu wrote. */
  readonly processes: string;
  /** The tar file of what the container had added and changed. */
  readonly changes: string | undefined;
  /** Absolute paths of what it had removed. */
  readonly removed: readonly string[];
  /** Where something of the node was mounted in the container. */
  readonly bindMounts: readonly string[];
}

const maxFiles = 200_000;
const maxImageBytes = 64 * 2 ** 20;

/**
 * Reads a checkpoint that lies in a directory with the layout of CRI-O's archives (docs/adr/0012). INVALID_ARGUMENT names
 * the file that is missing or is not what it should be.
 */
export async function readCheckpoint(node: NodePort, root: string): Promise<Checkpoint> {
  const config = await readJson(node, root, "config.dump");
  const spec = await readJson(node, root, "spec.dump");
  const removed = await readJson(node, root, "deleted.files", []);
  if (!isObject(config)) throw invalid("config.dump", "it is no JSON object");
  if (!isObject(spec) || !Array.isArray(spec["mounts"] ?? [])) throw invalid("spec.dump", "it has no mounts");
  if (!Array.isArray(removed) || !removed.every(isText))
    throw invalid("deleted.files", "it is no list of paths");
  const changes = await node.resolveInRoot(root, "rootfs-diff.tar");
  if (changes !== undefined && !statSync(changes).isFile()) throw invalid("rootfs-diff.tar", "it is no file");
  const { rootfsImageName, rootfsImageRef, checkpointedTime } = config;
  return {
    images: [rootfsImageRef, rootfsImageName].filter(isText).filter(text => text !== ""),
    checkpointedAt:
      isText(checkpointedTime) && !Number.isNaN(Date.parse(checkpointedTime)) ? checkpointedTime : "",
    processes: await processesOf(node, root),
    changes,
    removed,
    bindMounts: ((spec["mounts"] ?? []) as readonly unknown[])
      .filter(isBindMount)
      .map(mount => mount.destination),
  };
}

/** Refuses processes that have, or have mounted, more than the container's configuration gives. */
export function refuseMoreThan(processes: string, spec: RuntimeSpec): void {
  for (const name of readdirSync(processes)) {
    if (/^core-.*\.img$/.test(name)) refusePrivileges(readImage(processes, name), name, spec);
    if (/^mountpoints-.*\.img$/.test(name)) refuseMounts(readImage(processes, name), name, spec);
  }
}

function readImage(directory: string, name: string): Uint8Array {
  const path = join(directory, name);
  const { size } = lstatSync(path);
  if (size > maxImageBytes) throw invalid(name, `it has ${size} bytes, more than ${maxImageBytes}`);
  return readFileSync(path);
}

/** Plain files only: criu opens them by name, and would follow a symlink to a file of the node. */
async function processesOf(node: NodePort, root: string): Promise<string> {
  const directory = await node.resolveInRoot(root, "checkpoint");
  if (directory === undefined || !statSync(directory).isDirectory())
    throw invalid("checkpoint", "it is no directory with the processes");
  const names = readdirSync(directory);
  if (names.length > maxFiles) throw invalid("checkpoint", `it has more than ${maxFiles} files`);
  for (const name of names)
    if (!lstatSync(join(directory, name)).isFile())
      throw invalid(`checkpoint/${name}`, "it is no plain file");
  for (const name of ["inventory.img", "pstree.img", "descriptors.json"])
    if (!names.includes(name)) throw invalid(`checkpoint/${name}`, "it is missing");
  const streams = await readJson(node, directory, "descriptors.json");
  if (!Array.isArray(streams) || streams.length > 3 || !streams.every(isText))
    throw invalid("checkpoint/descriptors.json", "it does not tell the three standard streams");
  return directory;
}

async function readJson(node: NodePort, root: string, file: string, missing?: unknown): Promise<unknown> {
  const text = await node.readInRoot(root, file);
  if (text === undefined) {
    if (missing !== undefined) return missing;
    throw invalid(file, "it is missing");
  }
  try {
    return JSON.parse(text);
  } catch (error) {
    throw invalid(file, `it is no JSON: ${(error as Error).message}`);
  }
}

function isBindMount(mount: unknown): mount is { readonly destination: string } {
  if (!isObject(mount) || !isText(mount["destination"])) return false;
  const { type, options } = mount;
  return (
    type === "bind" ||
    (Array.isArray(options) && options.some(option => option === "bind" || option === "rbind"))
  );
}

function isText(value: unknown): value is string {
  return typeof value === "string" && !value.includes("\0");
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function invalid(file: string, why: string): OcidError {
  return new OcidError(
    "INVALID_ARGUMENT",
    `${file.slice(0, 200)} of the checkpoint is not what it should be: ${why}`,
    { reason: "BadCheckpoint" },
  );
}
