import { createHash } from "node:crypto";
import { OcidError } from "@ocid/base";
import { type ReadTarEntry, readTar } from "@ocid/layer";
import {
  childOf,
  type FileEntry,
  type FileNode,
  isDirectory,
  newNode,
  type TreeBudget,
} from "./file-tree.ts";

const whiteoutPrefix = ".wh.";
const opaqueName = ".wh..wh..opq";
const maxSymlinks = 40;

export interface LayerTreeOptions {
  /** Place of the layer from the base up. */
  readonly layer: number;
  /** Digests of files' contents are wanted. */
  readonly digests: boolean;
  readonly budget: TreeBudget;
  /** Most bytes of the tar. */
  readonly maxBytes: number;
}

/** Reads what a layer has and hides out of its uncompressed tar. */
export async function readLayerTree(
  tar: AsyncIterable<Uint8Array>,
  { layer, digests, budget, maxBytes }: LayerTreeOptions,
): Promise<FileNode> {
  const root = newNode();
  const hidden: FileNode[] = [];
  let current: { node: FileNode; entry: FileEntry; hash: ReturnType<typeof createHash> } | undefined;
  for await (const piece of readTar(tar, { wants: () => digests, maxBytes })) {
    if (piece.kind === "content") current?.hash.update(piece.bytes);
    else if (piece.kind === "end") {
      if (current) current.node.entry = { ...current.entry, digest: `sha256:${current.hash.digest("hex")}` };
      current = undefined;
    } else {
      const { entry } = piece;
      budget.take(entry.path.length + (typeof entry.linkName === "string" ? entry.linkName.length : 0));
      const node = place(root, entry, hidden);
      if (!node) continue;
      node.entry = entry.type === "hardlink" ? linkedEntry(root, entry) : describe(entry, layer);
      if (node.entry.type !== "directory") node.children = undefined;
      if (digests && entry.type === "file") current = { node, entry: node.entry, hash: createHash("sha256") };
    }
  }
  closeFiles(root);
  for (const node of hidden) node.closed = true;
  return root;
}

/** Where an entry belongs; undefined where it only hides something. */
function place(root: FileNode, entry: ReadTarEntry, hidden: FileNode[]): FileNode | undefined {
  if (entry.path === "") {
    if (entry.type === "directory") return root;
    throw new OcidError("INVALID_ARGUMENT", "the root of an archive can only be a directory");
  }
  const slash = entry.path.lastIndexOf("/");
  const name = entry.path.slice(slash + 1);
  const parent = directoryAt(root, slash === -1 ? "" : entry.path.slice(0, slash), entry.path);
  if (!name.startsWith(whiteoutPrefix)) return childOf(parent, name);
  if (name === opaqueName) {
    parent.children ??= new Map();
    hidden.push(parent);
  } else if (!name.startsWith(".wh..wh.")) {
    const bare = name.slice(whiteoutPrefix.length);
    if (bare === "" || bare === "." || bare === "..")
      throw new OcidError("INVALID_ARGUMENT", `archive entry ${JSON.stringify(entry.path)} hides no file`);
    hidden.push(childOf(parent, bare));
  }
  return undefined;
}

/** A directory of the layer, implied ones included; symbolic links of the layer itself are followed, as when it is unpacked. */
function directoryAt(root: FileNode, path: string, of: string): FileNode {
  let trail: FileNode[] = [root];
  const names = path === "" ? [] : path.split("/");
  for (let links = 0; names.length > 0; ) {
    const name = names.shift()!;
    if (name === "" || name === ".") continue;
    if (name === "..") {
      if (trail.length > 1) trail.pop();
      continue;
    }
    const child = childOf(trail.at(-1)!, name);
    const { entry } = child;
    if (entry?.type === "symlink") {
      if (++links > maxSymlinks) throw notADirectory(of);
      if (entry.linkTarget!.startsWith("/")) trail = [root];
      names.unshift(...entry.linkTarget!.split("/"));
    } else {
      if (entry && entry.type !== "directory") throw notADirectory(of);
      child.children ??= new Map();
      trail.push(child);
    }
  }
  return trail.at(-1)!;
}

function notADirectory(path: string): OcidError {
  return new OcidError(
    "INVALID_ARGUMENT",
    `archive entry ${JSON.stringify(path.slice(0, 300))}: its parent is no directory of the layer`,
  );
}

/** A hard link is what it is linked to, also when that goes later on. */
function linkedEntry(root: FileNode, { path, linkName }: ReadTarEntry): FileEntry {
  const parts = linkName.toString("utf8").split("/");
  const names = parts.filter(part => part !== "" && part !== ".");
  const parent = names.includes("..") ? undefined : directoryAt(root, names.slice(0, -1).join("/"), path);
  const found = parent?.children?.get(names.at(-1) ?? "")?.entry;
  if (!found || found.type === "directory")
    throw new OcidError(
      "INVALID_ARGUMENT",
      `archive entry ${JSON.stringify(path)} is a hard link to ${JSON.stringify(linkName.toString("utf8"))}, which the layer does not have`,
    );
  return found;
}

function describe(entry: ReadTarEntry, layer: number): FileEntry {
  const { type, mode, uid, gid, size, mtimeNs, linkName, major, minor, xattrs, at } = entry;
  return {
    type: type as FileEntry["type"],
    mode,
    uid,
    gid,
    size,
    mtimeMs: Number(mtimeNs / 1_000_000n),
    ...(type === "symlink" ? { linkTarget: linkName.toString("utf8") } : {}),
    ...(type === "character" || type === "block" ? { device: [major, minor] as const } : {}),
    ...(xattrs.length === 0
      ? {}
      : { xattrs: Object.fromEntries(xattrs.map(([name, value]) => [name, value.toString("hex")])) }),
    source: { layer, at },
  };
}

/** What is no directory hides a directory of the layers below. */
function closeFiles(node: FileNode): void {
  if (node.entry && !isDirectory(node)) node.closed = true;
  for (const child of node.children?.values() ?? []) closeFiles(child);
}
