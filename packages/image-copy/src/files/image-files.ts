import { OcidError } from "@ocid/base";
import { type Platform, parseImageConfig } from "@ocid/spec";
import { isImageConfig } from "../convert-manifest.ts";
import { refuseForeignLayers } from "../copy-blobs.ts";
import type { CallOptions, ImageSource } from "../image-source.ts";
import { readConfig } from "../read-config.ts";
import { resolveImage } from "../resolve-image.ts";
import { Spool } from "../spool.ts";
import {
  exists,
  type FileEntry,
  type FileNode,
  isDirectory,
  newNode,
  putBeneath,
  TreeBudget,
} from "./file-tree.ts";
import { LayerTars, type LayerToRead, mostBytes } from "./layer-tar.ts";
import { readLayerTree } from "./layer-tree.ts";

export interface ImageFilesOptions extends CallOptions {
  /** Which image of an index. Default: the machine's own platform. */
  readonly platform?: Platform | undefined;
  /** Where layers are kept while files of them are read. Default: TMPDIR, or /var/tmp. */
  readonly temporaryDirectory?: string | undefined;
  /** Keeps no layer, for who lists only. Default false. */
  readonly listOnly?: boolean | undefined;
  /** Memory that listings may take, in bytes. Default 256 MiB. */
  readonly maxMemory?: number | undefined;
  /** Most bytes that a layer may unpack to. Default: 256 times its size, and at least 8 GiB. */
  readonly maxLayerBytes?: number | undefined;
}

/** A file with its path in the image, without a slash before it. */
export interface ListedFile extends FileEntry {
  readonly path: string;
}

/** The files of an image where it is, without pulling it. Dispose of it. */
export interface ImageFiles extends AsyncDisposable {
  /** Digests of the layers that have been read so far, in that order. */
  readonly layersRead: readonly string[];
  /** What there is at a path; symbolic links on the way are followed within the image, one at the end where `follow` is not false. NOT_FOUND. */
  stat(path: string, options?: CallOptions & { readonly follow?: boolean }): Promise<ListedFile>;
  /** What a directory has, sorted by name, with all beneath it where `recursive` is set; what is no directory stands for itself. */
  list(
    path: string,
    options?: CallOptions & { readonly recursive?: boolean },
  ): Promise<readonly ListedFile[]>;
  /** A file's content, from layers that were verified to their last byte before. FAILED_PRECONDITION for what is no file. */
  read(path: string, options?: CallOptions): AsyncGenerator<Uint8Array, void, undefined>;
}

const maxSymlinks = 40;

/**
 * Opens an image's files. Layers are fetched from the top, one after the other and each to its end, until a question is
 * answered: whiteouts and opaque directories end the search as they do for a container.
 */
export async function openImageFiles(
  source: ImageSource,
  options: ImageFilesOptions = {},
): Promise<ImageFiles> {
  const layers = await layersOf(source, options);
  const spool = new Spool(options.temporaryDirectory);
  return new LazyFiles(source, layers, spool, options);
}

/** An image's layers from the base up, with their diffIDs. */
export async function layersOf(
  source: ImageSource,
  options: CallOptions & { readonly platform?: Platform | undefined },
): Promise<readonly LayerToRead[]> {
  const { parsed } = await resolveImage(source, options);
  if (!isImageConfig(parsed.config.mediaType))
    throw new OcidError(
      "INVALID_ARGUMENT",
      `${source.name} is an artifact (${parsed.config.mediaType}), which has no files of an image`,
    );
  refuseForeignLayers(parsed.layers, source.name);
  const stack = parseImageConfig(await readConfig(source, parsed.config, options)).rootfs.diff_ids;
  if (stack.length !== parsed.layers.length)
    throw new OcidError(
      "INVALID_ARGUMENT",
      `${source.name} has ${parsed.layers.length} layers, but its config names ${stack.length}`,
    );
  return parsed.layers.map((descriptor, at) => ({ descriptor, diffId: stack[at]!, at }));
}

class LazyFiles implements ImageFiles {
  readonly layersRead: string[] = [];
  readonly #source: ImageSource;
  readonly #layers: readonly LayerToRead[];
  readonly #spool: Spool;
  readonly #tars: LayerTars;
  readonly #budget: TreeBudget;
  readonly #maxLayerBytes: number | undefined;
  readonly #root: FileNode = { ...newNode(), children: new Map() };
  /** How many layers, from the base, have not been read. */
  #left: number;

  constructor(source: ImageSource, layers: readonly LayerToRead[], spool: Spool, options: ImageFilesOptions) {
    this.#source = source;
    this.#layers = layers;
    this.#left = layers.length;
    this.#spool = spool;
    this.#tars = new LayerTars(source, options.listOnly ? undefined : spool);
    this.#budget = new TreeBudget(options.maxMemory);
    this.#maxLayerBytes = options.maxLayerBytes;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#spool[Symbol.asyncDispose]();
  }

  async stat(
    path: string,
    { signal, follow = true }: CallOptions & { readonly follow?: boolean } = {},
  ): Promise<ListedFile> {
    const found = await this.#find(path, follow, signal);
    // Of a directory that a layer only implies, one below may know more.
    while (found.node.entry === undefined && !found.node.closed && (await this.#readNext(signal)));
    return listed(found.path, found.node);
  }

  async list(
    path: string,
    { signal, recursive = false }: CallOptions & { readonly recursive?: boolean } = {},
  ): Promise<readonly ListedFile[]> {
    const found = await this.#find(path, true, signal);
    if (!isDirectory(found.node)) return [listed(found.path, found.node)];
    while (!found.node.closed && (await this.#readNext(signal)));
    return [...filesBeneath(found.node, found.path, recursive)];
  }

  async *read(path: string, { signal }: CallOptions = {}): AsyncGenerator<Uint8Array, void, undefined> {
    const { node } = await this.#find(path, true, signal);
    if (node.entry?.type !== "file")
      throw new OcidError(
        "FAILED_PRECONDITION",
        `${path} of ${this.#source.name} is no file, but a ${node.entry?.type ?? "directory"}`,
      );
    const { layer, at } = node.entry.source;
    yield* this.#tars.content(this.#layers[layer]!, at, { signal });
  }

  /** Follows a path as the kernel does below a root; reads layers where what is known does not answer. */
  async #find(
    path: string,
    follow: boolean,
    signal: AbortSignal | undefined,
  ): Promise<{ readonly node: FileNode; readonly path: string }> {
    let trail: { readonly name: string; readonly node: FileNode }[] = [];
    const names = path.split("/");
    for (let links = 0; names.length > 0; ) {
      const name = names.shift()!;
      if (name === "" || name === ".") continue;
      if (name === "..") {
        trail.pop();
        continue;
      }
      const parent = trail.at(-1)?.node ?? this.#root;
      const node = await this.#child(parent, name, signal);
      if (!node) throw this.#missing(path);
      const isLast = names.every(rest => rest === "" || rest === ".");
      const target =
        node.entry?.type === "symlink" && (follow || !isLast) ? node.entry.linkTarget! : undefined;
      if (target !== undefined) {
        if (++links > maxSymlinks)
          throw new OcidError(
            "FAILED_PRECONDITION",
            `${path} of ${this.#source.name} goes through too many symbolic links`,
          );
        if (target.startsWith("/")) trail = [];
        names.unshift(...target.split("/"));
      } else {
        if (!isLast && !isDirectory(node)) throw this.#missing(path);
        trail.push({ name, node });
      }
    }
    return { node: trail.at(-1)?.node ?? this.#root, path: trail.map(({ name }) => name).join("/") };
  }

  async #child(
    parent: FileNode,
    name: string,
    signal: AbortSignal | undefined,
  ): Promise<FileNode | undefined> {
    for (;;) {
      const found = parent.children?.get(name);
      if (found) return exists(found) ? found : undefined;
      if (parent.closed || !(await this.#readNext(signal))) return undefined;
    }
  }

  /** Reads the topmost layer that is still unread; false where there is none. */
  async #readNext(signal: AbortSignal | undefined): Promise<boolean> {
    const layer = this.#layers[this.#left - 1];
    if (!layer) return false;
    const tree = await readLayerTree(this.#tars.open(layer, { signal }), {
      layer: layer.at,
      digests: false,
      budget: this.#budget,
      maxBytes: this.#maxLayerBytes ?? mostBytes(layer),
    });
    this.#left--;
    this.layersRead.push(layer.descriptor.digest);
    putBeneath(this.#root, tree);
    return true;
  }

  #missing(path: string): OcidError {
    return new OcidError("NOT_FOUND", `${this.#source.name} has no ${path}`);
  }
}

/** What a tree shows below one of its nodes, sorted, a directory before what is in it. */
export function* filesBeneath(node: FileNode, path: string, recursive: boolean): Generator<ListedFile> {
  const children = [...(node.children ?? [])].filter(([, child]) => exists(child));
  for (const [name, child] of children.sort(([a], [b]) => (a < b ? -1 : 1))) {
    const full = path === "" ? name : `${path}/${name}`;
    yield listed(full, child);
    if (recursive) yield* filesBeneath(child, full, true);
  }
}

/** A directory that no archive describes is made with these when an image is unpacked. */
const implied: FileEntry = {
  type: "directory",
  mode: 0o755,
  uid: 0,
  gid: 0,
  size: 0,
  mtimeMs: 0,
  source: { layer: 0, at: 0 },
};

function listed(path: string, node: FileNode): ListedFile {
  return { path, ...(node.entry ?? implied) };
}
