import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  createReadStream,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";

/** Directories that any Debian machine has, each a layer. */
const sources = ["/usr/share/doc", "/usr/share/perl", "/usr/lib/python3", "/usr/bin", "/usr/share/zoneinfo"];

/** Makes an OCI layout of an image out of the machine's own directories, the same each time on the same machine. */
export async function makeBenchImage(directory: string): Promise<void> {
  const blobs = join(directory, "blobs/sha256");
  mkdirSync(blobs, { recursive: true });
  const layers: object[] = [];
  const diffIds: string[] = [];
  for (const source of sources.filter(path => existsSync(path))) {
    const tar = join(directory, "layer.tar");
    const args = [
      "--sort=name",
      "--mtime=@0",
      "--owner=0",
      "--group=0",
      "--numeric-owner",
      "--format=pax",
      "--pax-option=delete=atime,delete=ctime",
      "-cf",
      tar,
      "-C",
      "/",
      source.slice(1),
    ];
    execFileSync("tar", args, { stdio: "ignore" });
    diffIds.push(await digestOf(tar));
    execFileSync("gzip", ["-n", "-6", "-f", tar]);
    const digest = await digestOf(`${tar}.gz`);
    layers.push({
      mediaType: "application/vnd.oci.image.layer.v1.tar+gzip",
      digest,
      size: statSync(`${tar}.gz`).size,
    });
    renameSync(`${tar}.gz`, join(blobs, digest.slice(7)));
  }
  const put = (value: object) => {
    const bytes = Buffer.from(JSON.stringify(value));
    const digest = `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
    writeFileSync(join(blobs, digest.slice(7)), bytes);
    return { digest, size: bytes.byteLength };
  };
  const config = {
    mediaType: "application/vnd.oci.image.config.v1+json",
    ...put({
      architecture: process.arch === "arm64" ? "arm64" : "amd64",
      os: "linux",
      config: {},
      rootfs: { type: "layers", diff_ids: diffIds },
    }),
  };
  const manifest = {
    mediaType: "application/vnd.oci.image.manifest.v1+json",
    ...put({ schemaVersion: 2, mediaType: "application/vnd.oci.image.manifest.v1+json", config, layers }),
  };
  writeFileSync(join(directory, "oci-layout"), '{"imageLayoutVersion":"1.0.0"}');
  writeFileSync(
    join(directory, "index.json"),
    JSON.stringify({
      schemaVersion: 2,
      manifests: [{ ...manifest, annotations: { "org.opencontainers.image.ref.name": "bench" } }],
    }),
  );
}

/** How many bytes and layers the image has, for the report. */
export function describeBenchImage(directory: string): string {
  const index = JSON.parse(readFileSync(join(directory, "index.json"), "utf8"));
  const manifest = JSON.parse(
    readFileSync(join(directory, "blobs/sha256", index.manifests[0].digest.slice(7)), "utf8"),
  );
  const bytes = manifest.layers.reduce((sum: number, layer: { size: number }) => sum + layer.size, 0);
  return `${manifest.layers.length} layers, ${(bytes / 1e6).toFixed(0)} MB compressed`;
}

async function digestOf(path: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(path)) hash.update(chunk);
  return `sha256:${hash.digest("hex")}`;
}
