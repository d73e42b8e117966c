import { OcidError } from "@ocid/base";
import type { ReadTarEntry } from "@ocid/layer";

/** A file, directory or other thing that an image has at a path. */
export interface FileEntry {
  readonly type: Exclude<ReadTarEntry["type"], "hardlink">;
  /** Permissions with set-id and sticky bits. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Bytes of a file's content, holes included; 0 for all else. */
  readonly size: number;
  /** Last change, in ms since 1970. */
  readonly mtimeMs: number;
  /** What a symbolic link says. */
  readonly linkTarget?: string | undefined;
  /** Major and minor number of a device. */
  readonly device?: readonly [number, number] | undefined;
  /** Extended attributes, values in hex. */
  readonly xattrs?: Readonly<Record<string, string>> | undefined;
  /** Of a file's content, where it was asked for. */
  readonly digest?: string | undefined;
  /** Place of the layer from the base up, from 0, and of the entry in its archive: where the content is. */
  readonly source: { readonly layer: number; readonly at: number };
}

/** A name in a tree. Without an entry it is a directory that an archive only implies, or, when closed and empty, nothing. */
export interface FileNode {
  entry: FileEntry | undefined;
  children: Map<string, FileNode> | undefined;
  /** Nothing of the layers below shows here or beneath: a whiteout, an opaque directory, or no directory at all. */
  closed: boolean;
}

export function newNode(): FileNode {
  return { entry: undefined, children: undefined, closed: false };
}

export function isDirectory(node: FileNode): boolean {
  return node.entry ? node.entry.type === "directory" : node.children !== undefined;
}

/** Whether there is something, and not only the mark of something hidden. */
export function exists(node: FileNode): boolean {
  return node.entry !== undefined || node.children !== undefined;
}

export function childOf(node: FileNode, name: string): FileNode {
  node.children ??= new Map();
  let child = node.children.get(name);
  if (!child) {
    child = newNode();
    node.children.set(name, child);
  }
  return child;
}

/**
 * Puts a layer's tree, or that of a stack of layers, beneath another one, as overlayfs does (image-spec, layer.md,
 * "Whiteouts"). Parts of `lower` become part of `upper`; `lower` must not be changed any more.
 */
export function putBeneath(upper: FileNode, lower: FileNode): void {
  if (upper.closed) return;
  if (lower.entry && lower.entry.type !== "directory" && exists(upper)) {
    upper.closed = true;
    return;
  }
  upper.entry ??= lower.entry;
  for (const [name, child] of lower.children ?? []) {
    const own = upper.children?.get(name);
    if (own) putBeneath(own, child);
    else {
      upper.children ??= new Map();
      upper.children.set(name, child);
    }
  }
  if (lower.closed) upper.closed = true;
}

/** Keeps account of what trees take in memory, so that an image made for it cannot fill it. */
export class TreeBudget {
  readonly #bytes: number;
  #left: number;

  constructor(bytes: number = 256 * 1024 * 1024) {
    this.#bytes = bytes;
    this.#left = bytes;
  }

  take(characters: number): void {
    // What a name, its entry and its place in the tree were measured to take, and a little more.
    this.#left -= 400 + 2 * characters;
    if (this.#left < 0)
      throw new OcidError(
        "RESOURCE_EXHAUSTED",
        `the image has more files than fit into the ${this.#bytes} bytes that listing them may take`,
      );
  }
}
