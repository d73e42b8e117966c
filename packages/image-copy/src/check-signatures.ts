import { OcidError } from "@ocid/base";
import type { CallOptions, ImageSource, ManifestBytes } from "./image-source.ts";
import type { PolicyRequirement } from "./policy-requirement.ts";
import type { ImageSignature } from "./signatures/image-signature.ts";
import { readKeys } from "./signatures/key-source.ts";
import type { SignaturePayload } from "./signatures/signature-payload.ts";
import { identityMatches } from "./signatures/signed-identity.ts";
import { parsePublicKey, verifySigstoreSignature } from "./signatures/sigstore-signature.ts";
import { parseKeyRings, verifySimpleSignature } from "./signatures/simple-signing.ts";

type SignatureRequirement = Extract<PolicyRequirement, { type: "signedBy" | "sigstoreSigned" }>;
type Verify = (signature: ImageSignature) => Promise<SignaturePayload | undefined>;

/**
 * Fails with PERMISSION_DENIED unless one of the manifests, the image's own or that of an index which names it, has a
 * signature that satisfies the requirement; the message says what is wrong with those that there are.
 */
export async function checkSignatures(
  requirement: SignatureRequirement,
  source: ImageSource,
  manifests: readonly ManifestBytes[],
  options: CallOptions,
): Promise<void> {
  const verify = await verifierOf(requirement, source.name);
  const flaws: string[] = [];
  for (const { descriptor } of manifests) {
    for (const signature of (await source.getSignatures?.(descriptor.digest, options)) ?? []) {
      try {
        const payload = await verify(signature);
        if (payload === undefined) continue;
        const flaw = flawOf(payload, descriptor.digest, requirement, source);
        if (flaw === undefined) return;
        flaws.push(flaw);
      } catch (error) {
        flaws.push((error as Error).message);
      }
    }
  }
  const why = flaws.length === 0 ? "it has no such signature" : flaws.join("; ");
  throw new OcidError(
    "PERMISSION_DENIED",
    `the policy wants ${source.name} to be ${requirement.type}: ${why}`,
    {
      reason: "PolicyRejected",
    },
  );
}

function flawOf(
  payload: SignaturePayload,
  digest: string,
  { signedIdentity }: SignatureRequirement,
  { identity }: ImageSource,
): string | undefined {
  if (payload.manifestDigest !== digest)
    return `a signature is over ${payload.manifestDigest}, not ${digest}`;
  if (!identityMatches(signedIdentity, identity?.reference, payload.reference))
    return `a signature is for ${JSON.stringify(payload.reference.slice(0, 300))} (wanted: ${signedIdentity.type})`;
  return undefined;
}

/** Reads signatures of the requirement's kind; those of the other kind are nothing to it. */
async function verifierOf(requirement: SignatureRequirement, name: string): Promise<Verify> {
  if (requirement.type === "signedBy") {
    const keys = await parseKeyRings(await readKeys(requirement.keys));
    return async signature =>
      signature.kind === "simple" ? await verifySimpleSignature(signature.message, keys) : undefined;
  }
  if (requirement.keys === undefined)
    throw new OcidError(
      "UNIMPLEMENTED",
      `the policy wants ${name} to be sigstoreSigned by certificate (fulcio or pki), which cannot be checked yet; the image is not used`,
      { reason: "PolicyUnsupported" },
    );
  const keys = (await readKeys(requirement.keys)).map(parsePublicKey);
  const rekorKeys = requirement.rekorKeys && (await readKeys(requirement.rekorKeys)).map(parsePublicKey);
  return async signature =>
    signature.kind === "sigstore" ? verifySigstoreSignature(signature, keys, rekorKeys) : undefined;
}
