import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  createReadStream,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";

/** What a layer is made of: files of the machine in the order of their names, until there are enough. */
interface LayerPlan {
  readonly from: readonly string[];
  readonly entries: number;
  readonly megabytes: number;
  readonly fileBytes?: { readonly least?: number; readonly most?: number };
}

interface ImagePlan {
  readonly layers: readonly LayerPlan[];
  readonly compression: "gzip" | "zstd";
}

const libraries = ["/usr/lib", "/usr/bin", "/usr/sbin"];
const typical: readonly LayerPlan[] = [
  { from: libraries, entries: 5_000, megabytes: 120 },
  { from: ["/usr/share/perl", "/usr/share/perl5"], entries: 2_000, megabytes: 20 },
  { from: ["/usr/share/doc", "/usr/share/man"], entries: 3_000, megabytes: 14 },
  { from: ["/usr/bin"], entries: 300, megabytes: 40 },
  { from: ["/usr/share/zoneinfo"], entries: 1_200, megabytes: 8 },
  { from: ["/usr/share/locale", "/usr/share/i18n"], entries: 450, megabytes: 10 },
  { from: ["/etc/ssl", "/usr/share/ca-certificates"], entries: 50, megabytes: 2 },
];
const small = { entries: 17_000, megabytes: 160, fileBytes: { most: 64 * 1024 } };
const big = { from: libraries, entries: 25, megabytes: 270, fileBytes: { least: 1024 * 1024 } };

/** The inputs: of the size that images have which many people pull. */
export const inputs: Readonly<Record<string, ImagePlan>> = {
  typical: { layers: typical, compression: "gzip" },
  zstd: { layers: typical, compression: "zstd" },
  small: {
    layers: [
      { from: ["/usr/share"], ...small },
      { from: ["/usr/lib", "/usr/include", "/etc"], ...small },
    ],
    compression: "gzip",
  },
  large: {
    layers: [big, { ...big, from: ["/usr/bin"] }, { ...big, from: ["/usr/lib"] }],
    compression: "gzip",
  },
  single: { layers: [{ from: libraries, entries: 12_000, megabytes: 214 }], compression: "gzip" },
};

/** A layer of so many small files, for growth. */
export function filesOfSize(entries: number): ImagePlan {
  return {
    layers: [{ from: ["/usr/share"], entries, megabytes: 100_000, fileBytes: { most: 8 * 1024 } }],
    compression: "gzip",
  };
}

/** What an image has, for the report. */
export interface InputFacts {
  readonly layers: number;
  readonly entries: number;
  readonly compressedBytes: number;
}

/** Makes an OCI layout with the reference `bench`: the same each time on the same machine. */
export async function makeInput(directory: string, plan: ImagePlan): Promise<InputFacts> {
  const blobs = join(directory, "blobs/sha256");
  mkdirSync(blobs, { recursive: true });
  const layers: { mediaType: string; digest: string; size: number }[] = [];
  const diffIds: string[] = [];
  let entries = 0;
  for (const [at, layer] of plan.layers.entries()) {
    const tar = join(directory, "layer.tar");
    entries += writeTar(tar, layer, `l${at}`);
    diffIds.push(await digestOf(tar));
    const packed = compress(tar, plan.compression);
    const digest = await digestOf(packed);
    layers.push({
      mediaType: `application/vnd.oci.image.layer.v1.tar+${plan.compression}`,
      digest,
      size: statSync(packed).size,
    });
    renameSync(packed, join(blobs, digest.slice(7)));
  }
  writeImage(directory, layers, diffIds);
  return { layers: layers.length, entries, compressedBytes: layers.reduce((sum, { size }) => sum + size, 0) };
}

/** Adds files until there are enough; where the machine has too few, the same ones again under another directory. */
function writeTar(tar: string, plan: LayerPlan, prefix: string): number {
  const found = plan.from.filter(path => existsSync(path)).flatMap(path => [...filesBelow(path, plan)]);
  if (found.length === 0) throw new Error(`no input: nothing that fits below ${plan.from.join(", ")}`);
  rmSync(tar, { force: true });
  let entries = 0;
  let bytes = 0;
  for (let copy = 0; entries < plan.entries && bytes < plan.megabytes * 1e6; copy++) {
    const list: string[] = [];
    for (const file of found) {
      if (entries >= plan.entries || bytes >= plan.megabytes * 1e6) break;
      list.push(file.path.slice(1));
      entries++;
      bytes += file.bytes;
    }
    const fixed = [
      "--mtime=@0",
      "--owner=0",
      "--group=0",
      "--numeric-owner",
      "--no-recursion",
      "--format=pax",
    ];
    execFileSync(
      "tar",
      [
        ...fixed,
        "--hard-dereference",
        "--pax-option=delete=atime,delete=ctime",
        `--transform=s,^,${prefix}/${copy}/,rSH`,
        copy === 0 ? "-cf" : "-rf",
        tar,
        "-C",
        "/",
        "--null",
        "-T",
        "-",
      ],
      { input: list.join("\0"), stdio: ["pipe", "ignore", "ignore"] },
    );
  }
  return entries;
}

function* filesBelow(
  directory: string,
  { fileBytes: { least = 0, most = Number.POSITIVE_INFINITY } = {} }: LayerPlan,
): Generator<{ readonly path: string; readonly bytes: number }> {
  for (const name of readdirSync(directory).sort()) {
    const path = join(directory, name);
    const stat = lstatSync(path);
    if (stat.isDirectory()) {
      if (least === 0) yield { path, bytes: 0 };
      yield* filesBelow(path, { from: [], entries: 0, megabytes: 0, fileBytes: { least, most } });
    } else if (stat.isFile() ? stat.size >= least && stat.size <= most : stat.isSymbolicLink() && least === 0)
      yield { path, bytes: stat.isFile() ? stat.size : 0 };
  }
}

function compress(tar: string, compression: ImagePlan["compression"]): string {
  if (compression === "gzip") {
    execFileSync("gzip", ["-n", "-6", "-f", tar]);
    return `${tar}.gz`;
  }
  execFileSync("zstd", ["-q", "-3", "-f", "--rm", tar]);
  return `${tar}.zst`;
}

function writeImage(directory: string, layers: readonly object[], diffIds: readonly string[]): void {
  const put = (mediaType: string, value: object) => {
    const bytes = Buffer.from(JSON.stringify(value));
    const digest = `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
    writeFileSync(join(directory, "blobs/sha256", digest.slice(7)), bytes);
    return { mediaType, digest, size: bytes.byteLength };
  };
  const config = put("application/vnd.oci.image.config.v1+json", {
    architecture: process.arch === "arm64" ? "arm64" : "amd64",
    os: "linux",
    config: {},
    rootfs: { type: "layers", diff_ids: diffIds },
  });
  const mediaType = "application/vnd.oci.image.manifest.v1+json";
  const manifest = put(mediaType, { schemaVersion: 2, mediaType, config, layers });
  const annotations = { "org.opencontainers.image.ref.name": "bench" };
  writeFileSync(join(directory, "oci-layout"), '{"imageLayoutVersion":"1.0.0"}');
  writeFileSync(
    join(directory, "index.json"),
    JSON.stringify({ schemaVersion: 2, manifests: [{ ...manifest, annotations }] }),
  );
}

async function digestOf(path: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(path)) hash.update(chunk);
  return `sha256:${hash.digest("hex")}`;
}
