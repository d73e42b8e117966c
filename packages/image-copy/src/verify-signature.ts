import { OcidError } from "@ocid/base";
import { type Digest, formatReference, type Platform, parseReference } from "@ocid/spec";
import { type AcceptedSignature, findSignature } from "./check-signatures.ts";
import type { CallOptions, ImageSource, ManifestBytes } from "./image-source.ts";
import type { ImagePolicy } from "./policy.ts";
import { resolveImage } from "./resolve-image.ts";
import type { SignerIdentity } from "./signatures/certificate-authority.ts";
import { parsePublicKey, parseTrustedRoot, verifySigstoreSignature } from "./signatures/sigstore-trust.ts";

/** By what an image's signatures are judged. */
export type SignatureTrust =
  /** The policy's rules for the image, which must want at least one signature. */
  | { readonly kind: "policy"; readonly policy: ImagePolicy }
  /** Public keys in PEM. */
  | { readonly kind: "keys"; readonly keys: readonly Uint8Array[] }
  /** A certificate of Fulcio's for somebody, by a trusted root of sigstore's (`trusted_root.json`). */
  | {
      readonly kind: "certificate";
      readonly trustedRoot: Uint8Array;
      /** E-mail address or URI in the certificate. */
      readonly subject: string;
      /** OpenID Connect issuer in the certificate. */
      readonly issuer: string;
    };

export interface VerifySignatureOptions extends CallOptions {
  /** Which image of an index, whose own signature counts beside the index's. Default: the machine's own. */
  readonly platform?: Platform | undefined;
}

/** What was checked: use the image by this digest, whatever its tag points at by then. */
export interface VerifiedImage extends AcceptedSignature {
  /** `registry/repository@digest`; undefined for an image that is in no registry. */
  readonly pinned: string | undefined;
}

/**
 * Checks the signatures of an image without copying it: of what its reference points at, or of the platform's image in
 * it. Keys and certificates are content with a signature that is for the image's repository or, in bundles, for the
 * digest alone. PERMISSION_DENIED (`PolicyRejected`) where no signature counts, FAILED_PRECONDITION where the policy
 * wants none.
 */
export async function verifySignature(
  source: ImageSource,
  trust: SignatureTrust,
  options: VerifySignatureOptions = {},
): Promise<VerifiedImage> {
  const image = await resolveImage(source, options);
  const manifests = image.index ? [image.index, image.manifest] : [image.manifest];
  const { digest, reference } = await findAccepted(source, trust, manifests, options);
  return { digest, reference, pinned: pinnedName(source, digest) };
}

async function findAccepted(
  source: ImageSource,
  trust: SignatureTrust,
  manifests: readonly ManifestBytes[],
  options: CallOptions,
): Promise<AcceptedSignature> {
  if (trust.kind === "policy") {
    const [accepted] = await trust.policy.admit(source, manifests, options);
    if (accepted) return accepted;
    throw new OcidError(
      "FAILED_PRECONDITION",
      `the policy wants no signature of ${source.name}, so none was checked; name a key or whom a certificate is for`,
      { reason: "NothingToVerify" },
    );
  }
  const by = trustOf(trust);
  return await findSignature(
    async signature => (signature.kind === "simple" ? undefined : verifySigstoreSignature(signature, by)),
    { type: "matchRepository" },
    source,
    manifests,
    { signal: options.signal, bundles: true, wanted: `${source.name} is not signed as asked` },
  );
}

function trustOf(trust: Exclude<SignatureTrust, { kind: "policy" }>) {
  if (trust.kind === "keys")
    return { kind: "keys", keys: trust.keys.map(parsePublicKey), logKeys: undefined } as const;
  const { subject, issuer } = trust;
  const identity: SignerIdentity = { subject, issuer };
  return { kind: "root", material: parseTrustedRoot(trust.trustedRoot), identity } as const;
}

function pinnedName({ identity }: ImageSource, digest: Digest): string | undefined {
  if (identity?.transport !== "docker" || identity.reference === undefined) return undefined;
  const { registry, repository } = parseReference(identity.reference);
  return formatReference({ registry, repository, digest });
}
