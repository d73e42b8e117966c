import { OcidError } from "@ocid/base";
import { Fields, formatReference, parseReference, referenceName } from "@ocid/spec";
import { refuseUnknownKeys } from "../refuse-unknown-keys.ts";

/** Which name a signature must give an image (containers-policy.json(5), "signedIdentity"). */
export type SignedIdentity =
  | { readonly type: "matchExact" | "matchRepoDigestOrExact" | "matchRepository" }
  | { readonly type: "exactReference"; readonly reference: string }
  | { readonly type: "exactRepository"; readonly repository: string }
  | { readonly type: "remapIdentity"; readonly prefix: string; readonly signedPrefix: string };

const keysOf: Readonly<Record<SignedIdentity["type"], readonly string[]>> = {
  matchExact: ["type"],
  matchRepoDigestOrExact: ["type"],
  matchRepository: ["type"],
  exactReference: ["type", "dockerReference"],
  exactRepository: ["type", "dockerRepository"],
  remapIdentity: ["type", "prefix", "signedPrefix"],
};

export function parseSignedIdentity(value: unknown, what: string): SignedIdentity {
  if (value === undefined) return { type: "matchRepoDigestOrExact" };
  const fields = new Fields(value, what);
  const type = fields.string("type");
  if (!Object.hasOwn(keysOf, type))
    throw new OcidError(
      "INVALID_ARGUMENT",
      `${what} has the unknown type ${JSON.stringify(type.slice(0, 80))}`,
    );
  const known = type as SignedIdentity["type"];
  refuseUnknownKeys(value as Readonly<Record<string, unknown>>, keysOf[known], what);
  switch (known) {
    case "exactReference": {
      const reference = parseReference(fields.string("dockerReference"));
      if (!isExact(fields.string("dockerReference")))
        throw new OcidError("INVALID_ARGUMENT", `${what}: dockerReference has neither tag nor digest`);
      return { type: known, reference: formatReference(reference) };
    }
    case "exactRepository":
      return { type: known, repository: referenceName(parseReference(fields.string("dockerRepository"))) };
    case "remapIdentity":
      return { type: known, prefix: fields.string("prefix"), signedPrefix: fields.string("signedPrefix") };
    default:
      return { type: known };
  }
}

/**
 * Whether a signature that names `signed` counts for the image that is known as `image`. Names without tag and digest
 * match repositories only: a signature is no promise for `latest`. A signature that names nothing (`signed` undefined)
 * speaks of the manifest alone, wherever it lies: only `matchRepository` is content with that.
 */
export function identityMatches(
  identity: SignedIdentity,
  image: string | undefined,
  signed: string | undefined,
): boolean {
  if (signed === undefined) return identity.type === "matchRepository" && image !== undefined;
  try {
    switch (identity.type) {
      case "exactReference":
        return isExact(signed) && formatReference(parseReference(signed)) === identity.reference;
      case "exactRepository":
        return referenceName(parseReference(signed)) === identity.repository;
    }
    if (image === undefined) return false;
    switch (identity.type) {
      case "matchExact":
        return exactly(image, signed);
      case "matchRepository":
        return sameRepository(image, signed);
      case "matchRepoDigestOrExact":
        return digestOrExact(image, signed);
      case "remapIdentity":
        return digestOrExact(remap(identity, image), signed);
    }
  } catch {
    // A name that cannot be read matches nothing.
    return false;
  }
}

function digestOrExact(image: string, signed: string): boolean {
  return parseReference(image).digest === undefined ? exactly(image, signed) : sameRepository(image, signed);
}

function exactly(image: string, signed: string): boolean {
  return (
    isExact(image) &&
    isExact(signed) &&
    formatReference(parseReference(image)) === formatReference(parseReference(signed))
  );
}

function sameRepository(image: string, signed: string): boolean {
  return referenceName(parseReference(image)) === referenceName(parseReference(signed));
}

function remap(
  { prefix, signedPrefix }: Extract<SignedIdentity, { type: "remapIdentity" }>,
  image: string,
): string {
  const full = formatReference(parseReference(image));
  const next = full[prefix.length];
  const isPrefix = full.startsWith(prefix) && (next === undefined || ":/@".includes(next));
  return isPrefix ? `${signedPrefix}${full.slice(prefix.length)}` : full;
}

function isExact(text: string): boolean {
  return text.includes("@") || text.lastIndexOf(":") > text.lastIndexOf("/");
}
