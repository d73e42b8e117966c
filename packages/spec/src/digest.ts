import { createHash, type Hash } from "node:crypto";
import { OcidError } from "@ocid/base";

declare const digestBrand: unique symbol;
declare const diffIdBrand: unique symbol;
declare const chainIdBrand: unique symbol;

/** Digest of stored bytes, `algorithm:hex` (image-spec, descriptor.md, "Digests"). */
export type Digest = string & { readonly [digestBrand]: true };
/** Digest of a layer's uncompressed tar (image-spec, config.md, "Layer DiffID"). */
export type DiffId = Digest & { readonly [diffIdBrand]: true };
/** Identity of a stack of layers (image-spec, config.md, "Layer ChainID"). */
export type ChainId = Digest & { readonly [chainIdBrand]: true };

export type DigestAlgorithm = "sha256" | "sha512";

const hexLength: Readonly<Record<DigestAlgorithm, number>> = { sha256: 64, sha512: 128 };

/** Checks a digest from outside; only sha256 and sha512 in lower-case hex pass. Fails with INVALID_ARGUMENT. */
export function parseDigest(value: unknown): Digest {
  if (typeof value === "string" && value.length <= 256) {
    const colon = value.indexOf(":");
    const length = (hexLength as Record<string, number | undefined>)[value.slice(0, colon)];
    const hex = value.slice(colon + 1);
    if (Object.hasOwn(hexLength, value.slice(0, colon)) && hex.length === length && /^[0-9a-f]+$/.test(hex))
      return value as Digest;
  }
  const shown = typeof value === "string" ? JSON.stringify(value.slice(0, 100)) : typeof value;
  throw new OcidError(
    "INVALID_ARGUMENT",
    `not a digest: ${shown} (expected sha256:<64 hex> or sha512:<128 hex>)`,
  );
}

export function parseDiffId(value: unknown): DiffId {
  return parseDigest(value) as DiffId;
}

export function digestAlgorithm(digest: Digest): DigestAlgorithm {
  return digest.slice(0, digest.indexOf(":")) as DigestAlgorithm;
}

/** The hex part, which containers/storage uses as an id. */
export function digestHex(digest: Digest): string {
  return digest.slice(digest.indexOf(":") + 1);
}

export function digestBytes(bytes: Uint8Array | string, algorithm: DigestAlgorithm = "sha256"): Digest {
  return finishDigest(createHash(algorithm).update(bytes), algorithm);
}

export function finishDigest(hash: Hash, algorithm: DigestAlgorithm = "sha256"): Digest {
  return `${algorithm}:${hash.digest("hex")}` as Digest;
}

/** ChainIDs of a stack from its base layer up: one for each layer (image-spec, config.md, "Layer ChainID"). */
export function chainIds(diffIds: readonly DiffId[]): readonly ChainId[] {
  const chain: ChainId[] = [];
  for (const diffId of diffIds) {
    const parent = chain.at(-1);
    chain.push((parent === undefined ? diffId : digestBytes(`${parent} ${diffId}`)) as string as ChainId);
  }
  return chain;
}
