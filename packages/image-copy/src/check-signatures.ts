import { messageOf, OcidError } from "@ocid/base";
import type { Digest } from "@ocid/spec";
import type { CallOptions, ImageSource, ManifestBytes } from "./image-source.ts";
import type { PolicyRequirement } from "./policy-requirement.ts";
import type { ImageSignature } from "./signatures/image-signature.ts";
import { readKeys } from "./signatures/key-source.ts";
import { parseCertificates } from "./signatures/parse-certificates.ts";
import type { SignaturePayload } from "./signatures/signature-payload.ts";
import { identityMatches, type SignedIdentity } from "./signatures/signed-identity.ts";
import { parsePublicKey, type SigstoreTrust, verifySigstoreSignature } from "./signatures/sigstore-trust.ts";
import { parseKeyRings, verifySimpleSignature } from "./signatures/simple-signing.ts";

type SignatureRequirement = Extract<PolicyRequirement, { type: "signedBy" | "sigstoreSigned" }>;

/** What a signature says; undefined for one of a kind that is nothing to the rule. */
export type VerifySignature = (signature: ImageSignature) => Promise<SignaturePayload | undefined>;

/** A signature that satisfied a rule. */
export interface AcceptedSignature {
  /** Of the manifest or index that it is over. */
  readonly digest: Digest;
  /** What it calls the image; undefined where it names none. */
  readonly reference: string | undefined;
}

/**
 * Fails with PERMISSION_DENIED unless one of the manifests, the image's own or that of an index which names it, has a
 * signature that satisfies the requirement; the message says what is wrong with those that there are.
 */
export async function checkSignatures(
  requirement: SignatureRequirement,
  source: ImageSource,
  manifests: readonly ManifestBytes[],
  options: CallOptions,
): Promise<AcceptedSignature> {
  const wanted = `the policy wants ${source.name} to be ${requirement.type}`;
  const verify = await verifierOf(requirement).catch(error => {
    // A key that is missing is not the image's being missing.
    throw new OcidError("FAILED_PRECONDITION", `${wanted}: ${messageOf(error)}`, { cause: error });
  });
  return await findSignature(verify, requirement.signedIdentity, source, manifests, {
    ...options,
    bundles: requirement.type === "sigstoreSigned",
    wanted,
  });
}

/** The first signature that verifies and is for this image. */
export async function findSignature(
  verify: VerifySignature,
  signedIdentity: SignedIdentity,
  source: ImageSource,
  manifests: readonly ManifestBytes[],
  options: CallOptions & { readonly bundles: boolean; readonly wanted: string },
): Promise<AcceptedSignature> {
  const flaws: string[] = [];
  for (const { descriptor } of manifests) {
    const { digest } = descriptor;
    for (const signature of (await source.getSignatures?.(digest, options)) ?? []) {
      try {
        const payload = await verify(signature);
        if (payload === undefined) continue;
        const flaw = flawOf(payload, digest, signedIdentity, source);
        if (flaw === undefined) return { digest, reference: payload.reference };
        flaws.push(flaw);
      } catch (error) {
        flaws.push(messageOf(error));
      }
    }
  }
  const why = flaws.length === 0 ? "it has no such signature" : [...new Set(flaws)].slice(0, 10).join("; ");
  throw new OcidError("PERMISSION_DENIED", `${options.wanted}: ${why}`, { reason: "PolicyRejected" });
}

function flawOf(
  payload: SignaturePayload,
  digest: string,
  signedIdentity: SignedIdentity,
  { identity }: ImageSource,
): string | undefined {
  if (payload.manifestDigest !== digest)
    return `a signature is over ${payload.manifestDigest}, not ${digest}`;
  if (identityMatches(signedIdentity, identity?.reference, payload.reference)) return undefined;
  return payload.reference === undefined
    ? `a bundle names no image, with which only signedIdentity matchRepository is content (wanted: ${signedIdentity.type})`
    : `a signature is for ${JSON.stringify(payload.reference.slice(0, 300))} (wanted: ${signedIdentity.type})`;
}

/** Reads the rule's keys and certificates, so that one that cannot be read is an error of its own. */
async function verifierOf(requirement: SignatureRequirement): Promise<VerifySignature> {
  if (requirement.type === "signedBy") {
    const keys = await parseKeyRings(await readKeys(requirement.keys));
    return async signature =>
      signature.kind === "simple" ? await verifySimpleSignature(signature.message, keys) : undefined;
  }
  const trust = await trustOf(requirement);
  return async signature =>
    signature.kind === "simple" ? undefined : verifySigstoreSignature(signature, trust);
}

async function trustOf({
  signers,
  rekorKeys,
}: Extract<PolicyRequirement, { type: "sigstoreSigned" }>): Promise<SigstoreTrust> {
  const logKeys = rekorKeys && (await readKeys(rekorKeys)).map(parsePublicKey);
  if (signers.kind === "keys")
    return { kind: "keys", keys: (await readKeys(signers.keys)).map(parsePublicKey), logKeys };
  const roots = (await readKeys(signers.roots)).flatMap(parseCertificates);
  if (roots.length === 0)
    throw new OcidError("INVALID_ARGUMENT", "the policy's certificate authority has no certificate");
  const intermediates = signers.intermediates
    ? (await readKeys(signers.intermediates)).flatMap(parseCertificates)
    : [];
  return { kind: "certificates", roots, intermediates, identity: signers.identity, logKeys };
}
