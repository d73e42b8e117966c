import { execFile, execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { type Descriptor, type DiffId, digestBytes, digestHex, mediaTypes } from "@ocid/spec";
import type { Store } from "@ocid/storage";
import { makeBusyboxRootfs } from "@ocid/testkit";

const run = promisify(execFile);

/** Debian's podman, skopeo and buildah, installed where they are missing. */
export function requirePeers(): void {
  const missing = ["podman", "skopeo", "buildah"].filter(name => !existsSync(`/usr/bin/${name}`));
  if (missing.length === 0) return;
  execFileSync("apt-get", ["install", "-y", "--no-install-recommends", ...missing], {
    stdio: "ignore",
    env: { ...process.env, DEBIAN_FRONTEND: "noninteractive" },
  });
}

/** The two directories of a store, and the other programs working on it. */
export interface Peers {
  readonly root: string;
  readonly runRoot: string;
  podman(...args: string[]): string;
  podmanAsync(...args: string[]): Promise<string>;
  buildahAsync(...args: string[]): Promise<string>;
  skopeo(...args: string[]): string;
  skopeoAsync(...args: string[]): Promise<string>;
  /** `containers-storage:[overlay@…]NAME` */
  storageName(name: string): string;
}

export function peersOn(root: string, runRoot: string): Peers {
  const sync = (program: string, args: readonly string[]) =>
    execFileSync(program, args, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
  const podman = (args: readonly string[]) => [
    ...["--root", root, "--runroot", runRoot, "--storage-driver", "overlay"],
    ...["--runtime", "runc", "--cgroup-manager", "cgroupfs", "--events-backend", "file"],
    ...args,
  ];
  const skopeo = (args: readonly string[]) => ["--insecure-policy", ...args];
  return {
    root,
    runRoot,
    podman: (...args) => sync("podman", podman(args)),
    podmanAsync: async (...args) => (await run("podman", podman(args))).stdout,
    buildahAsync: async (...args) =>
      (await run("buildah", ["--root", root, "--runroot", runRoot, "--storage-driver", "overlay", ...args]))
        .stdout,
    skopeo: (...args) => sync("skopeo", skopeo(args)),
    skopeoAsync: async (...args) => (await run("skopeo", skopeo(args))).stdout,
    storageName: name => `containers-storage:[overlay@${root}+${runRoot}]${name}`,
  };
}

/** What `podman run` needs on machines without CAP_SYS_RESOURCE and without a network. */
export const runFlags = [
  ...["run", "--rm", "--network", "none"],
  ...["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"],
];

export interface Blob {
  readonly path: string;
  readonly diffId: DiffId;
  readonly descriptor: Descriptor;
}

/** Packs a directory with GNU tar. */
export function packBlob(path: string, directory: string): Blob {
  const tar = execFileSync("tar", ["-c", "--sort=name", "-C", directory, "."], { maxBuffer: 1 << 28 });
  writeFileSync(path, tar);
  const digest = digestBytes(tar);
  return {
    path,
    diffId: digest as DiffId,
    descriptor: { mediaType: mediaTypes.ociLayer, digest, size: tar.byteLength },
  };
}

/** A small layer with a file that tells it from others. */
export function smallBlob(directory: string, word: string): Blob {
  const tree = join(directory, `tree-${word}`);
  mkdirSync(join(tree, "data"), { recursive: true });
  writeFileSync(join(tree, "data", word), word.repeat(100));
  return packBlob(join(directory, `${word}.tar`), tree);
}

export function busyboxBlob(directory: string): Blob {
  return packBlob(join(directory, "busybox.tar"), makeBusyboxRootfs(join(directory, "busybox")));
}

export interface Built {
  readonly id: string;
  readonly stack: readonly DiffId[];
  readonly config: Buffer;
  readonly manifest: Buffer;
}

/** Config and manifest of an image of these layers. */
export function buildImage(layers: readonly Blob[]): Built {
  const stack = layers.map(layer => layer.diffId);
  const config = Buffer.from(
    JSON.stringify({
      architecture: "amd64",
      os: "linux",
      created: "2024-05-06T07:08:09Z",
      config: { Cmd: ["/bin/sh"], Env: ["PATH=/bin"] },
      rootfs: { type: "layers", diff_ids: stack },
    }),
  );
  const manifest = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: mediaTypes.ociManifest,
      config: { mediaType: mediaTypes.ociConfig, digest: digestBytes(config), size: config.byteLength },
      layers: layers.map(layer => layer.descriptor),
    }),
  );
  return { id: digestHex(digestBytes(config)), stack, config, manifest };
}

/** Stages, publishes and names an image, as a pull does. */
export async function storeImage(store: Store, name: string, layers: readonly Blob[]): Promise<Built> {
  const image = buildImage(layers);
  const staging = await Promise.allSettled(
    layers.map(layer =>
      store.stageLayer({
        descriptor: layer.descriptor,
        source: { kind: "file", path: layer.path },
        diffId: layer.diffId,
      }),
    ),
  );
  await using staged = new AsyncDisposableStack();
  for (const result of staging) if (result.status === "fulfilled") staged.use(result.value);
  const failed = staging.find(result => result.status === "rejected");
  if (failed) throw failed.reason;
  await store.commitLayers(
    staging.flatMap(result => (result.status === "fulfilled" ? [result.value] : [])),
    [],
  );
  await store.putImage({
    id: image.id,
    names: [name],
    stack: image.stack,
    created: "2024-05-06T07:08:09Z",
    bigData: [
      { key: digestBytes(image.config), bytes: image.config },
      { key: `manifest-${digestBytes(image.manifest)}`, bytes: image.manifest },
      { key: "manifest", bytes: image.manifest },
    ],
  });
  return image;
}

/** States of a store before an operation of crash-program.ts. */
export type Before = "empty" | "one-image" | "one-container" | "damaged-image" | "in-quarantine";

/** Brings an empty store into the state: an image `localhost/crash:1`, and what the state's name says of it. */
export async function prepareStore(store: Store, before: Before, layers: readonly Blob[]): Promise<void> {
  if (before === "empty") return;
  const { id } = await storeImage(store, "localhost/crash:1", layers);
  if (before === "one-container")
    await store.createContainer({ id: "c".repeat(64), name: "crash", imageId: id });
  if (before === "damaged-image") {
    const { layerId } = await store.getImage(id);
    writeFileSync(join(store.root, "overlay", layerId!, "diff/data/top"), "damaged");
  }
  if (before === "in-quarantine") await store.quarantineImage(id, "its content has changed");
}

/** The same image as a directory that skopeo copies from. */
export function writeDirImage(directory: string, layers: readonly Blob[]): string {
  const image = buildImage(layers);
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, "version"), "Directory Transport Version: 1.1\n");
  writeFileSync(join(directory, "manifest.json"), image.manifest);
  writeFileSync(join(directory, image.id), image.config);
  for (const layer of layers)
    writeFileSync(join(directory, digestHex(layer.descriptor.digest)), readFileSync(layer.path));
  return directory;
}

export async function tarDigest(store: Store, layerId: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of store.openLayerTar(layerId)) hash.update(chunk);
  return `sha256:${hash.digest("hex")}`;
}

/** What a store is made of, to compare: ids of records, directories and links. */
export function census(root: string): { records: string[]; directories: string[]; links: number } {
  const rows = (name: string) => {
    const path = join(root, "overlay-layers", name);
    return existsSync(path) ? (JSON.parse(readFileSync(path, "utf8") || "[]") as { id: string }[]) : [];
  };
  const records = [...rows("layers.json"), ...rows("volatile-layers.json")].map(row => row.id).sort();
  const directories = readdirSync(join(root, "overlay"))
    .filter(name => /^[0-9a-f]{64}$/.test(name))
    .sort();
  return { records, directories, links: readdirSync(join(root, "overlay/l")).length };
}

export async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const list: T[] = [];
  for await (const item of items) list.push(item);
  return list;
}
