import { type KeyObject, sign } from "node:crypto";
import { isOcidError, OcidError } from "@ocid/base";
import { bytesSource, pushArtifact, type RegistryClient } from "@ocid/registry";
import {
  type Descriptor,
  type Digest,
  digestAlgorithm,
  digestBytes,
  digestHex,
  formatReference,
  type ImageManifest,
  mediaTypes,
  parseManifest,
  type Reference,
  referenceName,
} from "@ocid/spec";
import { dsse } from "@sigstore/core";
import type { CallOptions } from "./image-source.ts";
import { attachmentOf } from "./signatures/attached-signatures.ts";
import { bundleType, payloadType } from "./signatures/image-signature.ts";
import { keyHint } from "./signatures/signing-key.ts";
import {
  signatureAnnotation,
  signPredicate,
  statementPayloadType,
  statementType,
} from "./signatures/sigstore-entity.ts";

export interface SignOptions extends CallOptions {
  /** The name that the signature gives the image. Default: the reference, with its tag. */
  readonly identity?: Reference | undefined;
  /** Of both layouts only one: `attachment` is what containers/image reads, `bundle` what cosign 3 looks for. */
  readonly only?: "attachment" | "bundle" | undefined;
}

export interface SignedImage {
  /** Of the manifest or index that was signed. */
  readonly digest: Digest;
  readonly identity: string;
  /** References of what was pushed. */
  readonly pushed: readonly string[];
}

/**
 * Signs what a reference points at with a key, as cosign does: attached under the tag `sha256-<hex>.sig`, and as a
 * bundle (v0.3) that refers to it. Both name the image, so that a policy need not do without.
 */
export async function signImage(
  client: RegistryClient,
  reference: Reference,
  key: KeyObject,
  options: SignOptions = {},
): Promise<SignedImage> {
  const { only, signal } = options;
  const subject = await client.resolve(reference, { signal });
  const identity = formatReference(options.identity ?? reference);
  const pushed: string[] = [];
  if (only !== "bundle")
    pushed.push(await pushAttachment(client, reference, subject.digest, identity, key, { signal }));
  if (only !== "attachment")
    pushed.push(await pushBundle(client, reference, subject, identity, key, { signal }));
  return { digest: subject.digest, identity, pushed };
}

/** Beside the signatures that are there. */
async function pushAttachment(
  client: RegistryClient,
  image: Reference,
  digest: Digest,
  identity: string,
  key: KeyObject,
  options: CallOptions,
): Promise<string> {
  const payload = Buffer.from(
    JSON.stringify({
      critical: {
        identity: { "docker-reference": identity },
        image: { "docker-manifest-digest": digest },
        type: "cosign container image signature",
      },
      optional: null,
    }),
  );
  const layer: Descriptor = {
    mediaType: payloadType,
    digest: digestBytes(payload),
    size: payload.byteLength,
    annotations: { [signatureAnnotation]: signatureOver(payload, key) },
  };
  const reference = attachmentOf(image, digest);
  await client.pushBlob(reference, layer, bytesSource(payload), options);
  const layers = [...(await layersThere(client, reference, options)), layer];
  const config = Buffer.from(
    JSON.stringify({
      architecture: "",
      os: "",
      config: {},
      rootfs: { type: "layers", diff_ids: layers.map(other => other.digest) },
    }),
  );
  const configDescriptor = {
    mediaType: mediaTypes.ociConfig,
    digest: digestBytes(config),
    size: config.byteLength,
  };
  await client.pushBlob(reference, configDescriptor, bytesSource(config), options);
  const manifest: ImageManifest = {
    schemaVersion: 2,
    mediaType: mediaTypes.ociManifest,
    config: configDescriptor,
    layers,
  };
  await client.pushManifest(
    reference,
    Buffer.from(JSON.stringify(manifest)),
    mediaTypes.ociManifest,
    options,
  );
  return formatReference(reference);
}

async function layersThere(
  client: RegistryClient,
  reference: Reference,
  options: CallOptions,
): Promise<readonly Descriptor[]> {
  try {
    const { bytes, descriptor } = await client.fetchManifest(reference, options);
    const parsed = parseManifest(bytes, descriptor.mediaType);
    if (parsed.kind === "image") return parsed.manifest.layers;
  } catch (error) {
    if (isOcidError(error, "NOT_FOUND")) return [];
    throw error;
  }
  throw new OcidError("FAILED_PRECONDITION", `${formatReference(reference)} is an index, not signatures`);
}

async function pushBundle(
  client: RegistryClient,
  image: Reference,
  subject: Descriptor,
  identity: string,
  key: KeyObject,
  options: CallOptions,
): Promise<string> {
  const { registry, repository } = image;
  const statement = {
    _type: statementType,
    subject: [{ name: identity, digest: { [digestAlgorithm(subject.digest)]: digestHex(subject.digest) } }],
    predicateType: signPredicate,
    predicate: {},
  };
  const payload = Buffer.from(JSON.stringify(statement));
  const bundle = Buffer.from(
    JSON.stringify({
      mediaType: bundleType,
      verificationMaterial: { publicKey: { hint: keyHint(key) } },
      dsseEnvelope: {
        payload: payload.toString("base64"),
        payloadType: statementPayloadType,
        signatures: [{ sig: signatureOver(dsse.preAuthEncoding(statementPayloadType, payload), key) }],
      },
    }),
  );
  const descriptor = { mediaType: bundleType, digest: digestBytes(bundle), size: bundle.byteLength };
  const pushed = await pushArtifact(
    client,
    { registry, repository },
    {
      artifactType: bundleType,
      blobs: [{ descriptor, open: bytesSource(bundle) }],
      subject,
      annotations: {
        "dev.sigstore.bundle.content": "dsse-envelope",
        "dev.sigstore.bundle.predicateType": signPredicate,
        "org.opencontainers.image.created": new Date().toISOString(),
      },
    },
    options,
  );
  return `${referenceName(image)}@${pushed.digest}`;
}

function signatureOver(data: Uint8Array, key: KeyObject): string {
  // Ed25519 has its digest built in.
  return sign(key.asymmetricKeyType === "ed25519" ? null : "sha256", data, key).toString("base64");
}
