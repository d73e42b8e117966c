import { OcidError } from "@ocid/base";
import { type Digest, digestBytes, digestHex, isObject, parseJsonObject } from "@ocid/spec";
import type { ImageRecord, ImageStorePort } from "../ports.ts";
import {
  formatSignatureFile,
  type ImageSignature,
  maxSignatures,
  parseSignatureFile,
} from "./image-signature.ts";

/** Signatures of the manifests through which an image was found, its own first. */
export type SignaturesByManifest = ReadonlyMap<Digest, readonly ImageSignature[]>;

/** What of an image's record says where its signatures lie (containers/storage, the image's `metadata`). */
export interface StoredSignatures {
  readonly bigData: readonly { readonly key: string; readonly bytes: Uint8Array }[];
  readonly metadata: string;
}

/**
 * Signatures as containers/storage keeps them with an image: those of a manifest one after the other in
 * `signature-<hex>`, those of the image's own manifest also in `signatures`, their sizes in the metadata.
 */
export function storeSignatures(own: Digest, signatures: SignaturesByManifest): StoredSignatures {
  const files = [...signatures].map(([digest, list]) => ({ digest, files: list.map(formatSignatureFile) }));
  const signed = files.filter(entry => entry.files.length > 0);
  const ofOwn = signed.find(({ digest }) => digest === own)?.files ?? [];
  const sizes = (list: readonly Uint8Array[]) => list.map(({ byteLength }) => byteLength);
  return {
    bigData: [
      ...(ofOwn.length > 0 ? [{ key: "signatures", bytes: Buffer.concat(ofOwn) }] : []),
      ...signed.map(entry => ({ key: keyOf(entry.digest), bytes: Buffer.concat(entry.files) })),
    ],
    metadata: JSON.stringify({
      ...(ofOwn.length > 0 ? { "signature-sizes": sizes(ofOwn) } : {}),
      ...(signed.length > 0
        ? { "signatures-sizes": Object.fromEntries(signed.map(entry => [entry.digest, sizes(entry.files)])) }
        : {}),
    }),
  };
}

/** The signatures of a manifest that are kept with an image, whichever tool has put them there; not verified. */
export async function readStoredSignatures(
  store: Pick<ImageStorePort, "readImageData">,
  image: ImageRecord,
  digest: Digest,
): Promise<readonly ImageSignature[]> {
  const metadata = parseJsonObject(Buffer.from(image.metadata || "{}"), `metadata of image ${image.id}`);
  const byManifest = metadata["signatures-sizes"];
  const sizes = sizesOf(isObject(byManifest) ? byManifest[digest] : undefined);
  if (sizes.length > 0) return split(await store.readImageData(image.id, keyOf(digest)), sizes);
  const own = sizesOf(metadata["signature-sizes"]);
  if (own.length === 0 || image.bigDataDigests["manifest"] !== digest) return [];
  return split(await store.readImageData(image.id, "signatures"), own);
}

/** Each once, the first ones as many as are read of a manifest. */
export function uniqueSignatures(signatures: readonly ImageSignature[]): readonly ImageSignature[] {
  const byContent = new Map(
    signatures.map(signature => [digestBytes(formatSignatureFile(signature)), signature] as const),
  );
  return [...byContent.values()].slice(0, maxSignatures);
}

function keyOf(digest: Digest): string {
  return `signature-${digestHex(digest)}`;
}

function sizesOf(value: unknown): readonly number[] {
  return Array.isArray(value) && value.every(size => Number.isSafeInteger(size) && size > 0)
    ? value.slice(0, maxSignatures)
    : [];
}

function split(bytes: Uint8Array, sizes: readonly number[]): readonly ImageSignature[] {
  const found: ImageSignature[] = [];
  let at = 0;
  for (const size of sizes) {
    if (at + size > bytes.byteLength)
      throw new OcidError("DATA_LOSS", `signatures have ${bytes.byteLength} bytes, fewer than they should`);
    const signature = parseSignatureFile(bytes.subarray(at, at + size));
    if (signature) found.push(signature);
    at += size;
  }
  return found;
}
