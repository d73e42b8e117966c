import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";

const digestOf = (bytes: Uint8Array) => `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
export const checkpointAnnotation = "io.kubernetes.cri-o.annotations.checkpoint.name";

/** Pushes an archive of a checkpoint as the image that `buildah add` makes of it: its only layer, and an annotation. */
export async function pushCheckpointImage(
  registry: string,
  name: string,
  archive: string,
  annotations: Readonly<Record<string, string>> = { [checkpointAnnotation]: "counter" },
): Promise<string> {
  const of = `http://${registry}/v2/${name}`;
  const upload = async (bytes: Uint8Array) => {
    const digest = digestOf(bytes);
    const begun = await fetch(`${of}/blobs/uploads/`, { method: "POST" });
    const place = new URL(begun.headers.get("location")!, of);
    place.searchParams.set("digest", digest);
    const put = await fetch(place, { method: "PUT", body: Uint8Array.from(bytes) });
    if (put.status !== 201) throw new Error(`upload of ${digest}: ${put.status}`);
    return { digest, size: bytes.byteLength };
  };
  const layer = await upload(readFileSync(archive));
  const config = {
    architecture: process.arch === "x64" ? "amd64" : process.arch,
    os: "linux",
    config: {},
    rootfs: { type: "layers", diff_ids: [layer.digest] },
  };
  const type = "application/vnd.oci.image.manifest.v1+json";
  const put = await fetch(`${of}/manifests/1`, {
    method: "PUT",
    headers: { "content-type": type },
    body: JSON.stringify({
      schemaVersion: 2,
      mediaType: type,
      config: {
        mediaType: "application/vnd.oci.image.config.v1+json",
        ...(await upload(Buffer.from(JSON.stringify(config)))),
      },
      layers: [{ mediaType: "application/vnd.oci.image.layer.v1.tar", ...layer }],
      annotations,
    }),
  });
  if (put.status !== 201) throw new Error(`push of ${name}: ${put.status} ${await put.text()}`);
  return `${registry}/${name}:1`;
}
