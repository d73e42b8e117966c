import { OcidError } from "@ocid/base";
import { type Descriptor, omitUndefined, parseDescriptor } from "./descriptor.ts";
import { isIndexType, isManifestType, mediaTypes } from "./media-types.ts";
import { Fields, parseJsonObject } from "./parse-json.ts";
import { bestPlatform, formatPlatform, type Platform } from "./platform.ts";

/** An image or artifact manifest of OCI, or Docker's of schema 2 (image-spec, manifest.md). */
export interface ImageManifest {
  readonly schemaVersion: 2;
  readonly mediaType?: string;
  readonly artifactType?: string;
  readonly config: Descriptor;
  readonly layers: readonly Descriptor[];
  readonly subject?: Descriptor;
  readonly annotations?: Readonly<Record<string, string>>;
}

/** An index of OCI, or Docker's manifest list (image-spec, image-index.md). */
export interface ImageIndex {
  readonly schemaVersion: 2;
  readonly mediaType?: string;
  readonly artifactType?: string;
  readonly manifests: readonly Descriptor[];
  readonly subject?: Descriptor;
  readonly annotations?: Readonly<Record<string, string>>;
}

export type ParsedManifest =
  | { readonly kind: "image"; readonly mediaType: string; readonly manifest: ImageManifest }
  | { readonly kind: "index"; readonly mediaType: string; readonly index: ImageIndex };

/**
 * Parses a manifest or an index. `mediaType` is what the outside said it is (Content-Type, a descriptor); it, the
 * document's own mediaType and its shape must agree, or one client's image would be another one's index
 * (CVE-2021-41190). Fails with INVALID_ARGUMENT; schema 1 is UNIMPLEMENTED.
 */
export function parseManifest(bytes: Uint8Array, mediaType?: string): ParsedManifest {
  const document = parseJsonObject(bytes, "manifest");
  refuseOtherSpelling(document);
  const fields = new Fields(document, "manifest");
  if (document["schemaVersion"] === 1) {
    throw new OcidError(
      "UNIMPLEMENTED",
      "manifest has schema version 1, which registries have given up; ask for the image in schema 2 or OCI form",
    );
  }
  if (document["schemaVersion"] !== 2)
    throw new OcidError(
      "INVALID_ARGUMENT",
      `manifest has schema version ${JSON.stringify(document["schemaVersion"])?.slice(0, 40)}, expected 2`,
    );
  const own = fields.optionalString("mediaType");
  const kind = kindOf(document);
  const stated = [own, mediaType].filter(
    type => type !== undefined && (isIndexType(type) || isManifestType(type)),
  ) as string[];
  for (const type of stated) {
    if (isIndexType(type) !== (kind === "index"))
      throw new OcidError("INVALID_ARGUMENT", `manifest says it is ${type} but has the shape of an ${kind}`);
  }
  if (own && mediaType && stated.length === 2 && own !== mediaType) {
    throw new OcidError("INVALID_ARGUMENT", `manifest says it is ${own} but was delivered as ${mediaType}`);
  }
  const common = {
    schemaVersion: 2 as const,
    mediaType: own,
    artifactType: fields.optionalString("artifactType"),
    annotations: fields.stringMap("annotations"),
    subject: subjectOf(fields),
  };
  if (kind === "index") {
    const manifests = fields
      .list("manifests")
      .map((item, at) => parseDescriptor(item, `index: manifest ${at + 1}`));
    return {
      kind,
      mediaType: stated[0] ?? mediaTypes.ociIndex,
      index: omitUndefined({ ...common, manifests }) as ImageIndex,
    };
  }
  const config = parseDescriptor(fields.raw("config"), "manifest: config");
  const layers = fields.list("layers").map((item, at) => parseDescriptor(item, `manifest: layer ${at + 1}`));
  const type =
    stated[0] ??
    (config.mediaType === mediaTypes.dockerConfig ? mediaTypes.dockerManifest : mediaTypes.ociManifest);
  return { kind, mediaType: type, manifest: omitUndefined({ ...common, config, layers }) as ImageManifest };
}

const knownKeys = new Map(
  [
    "schemaVersion",
    "mediaType",
    "config",
    "layers",
    "manifests",
    "subject",
    "artifactType",
    "annotations",
  ].map(key => [key.toLowerCase(), key]),
);

/** Parsers of other languages take `Layers` for `layers`: they would see another image. */
function refuseOtherSpelling(document: Record<string, unknown>): void {
  for (const key of Object.keys(document)) {
    const known = knownKeys.get(key.toLowerCase());
    if (known !== undefined && known !== key)
      throw new OcidError(
        "INVALID_ARGUMENT",
        `manifest has a key ${JSON.stringify(key)}, which is spelt ${known}`,
      );
  }
}

function kindOf(document: Record<string, unknown>): "image" | "index" {
  const image = "config" in document || "layers" in document;
  const index = "manifests" in document;
  if (image === index)
    throw new OcidError(
      "INVALID_ARGUMENT",
      image ? "manifest is an image and an index at once" : "manifest has neither layers nor manifests",
    );
  return index ? "index" : "image";
}

function subjectOf(fields: Fields): Descriptor | undefined {
  const subject = fields.raw("subject");
  return subject === undefined || subject === null
    ? undefined
    : parseDescriptor(subject, "manifest: subject");
}

/** The manifest of an index for a platform; NOT_FOUND lists the platforms that there are. */
export function choosePlatform(index: ImageIndex, wanted: Platform): Descriptor {
  const candidates = index.manifests.filter(isImageDescriptor);
  const at = bestPlatform(
    candidates.map(descriptor => descriptor.platform),
    wanted,
  );
  if (at !== undefined) return candidates[at]!;
  if (candidates.length === 1 && candidates[0]!.platform === undefined) return candidates[0]!;
  const offered = candidates.map(descriptor =>
    descriptor.platform ? formatPlatform(descriptor.platform) : "unnamed",
  );
  throw new OcidError(
    "NOT_FOUND",
    `no image for ${formatPlatform(wanted)} in the index (it has ${[...new Set(offered)].join(", ") || "none"})`,
  );
}

/** Whether an index entry is an image to run: not an attestation that builders put beside it. */
export function isImageDescriptor(descriptor: Descriptor): boolean {
  return (
    descriptor.annotations?.["vnd.docker.reference.type"] === undefined &&
    descriptor.platform?.os !== "unknown"
  );
}
