import { isOcidError, OcidError } from "@ocid/base";
import type { RegistryClient } from "@ocid/registry";
import { type Descriptor, type Digest, digestAlgorithm, digestHex, type Reference } from "@ocid/spec";
import type { CallOptions } from "./image-source.ts";

/** What a referrer is, by its type; several programs have several types for each. */
export type ReferrerKind = "signature" | "sbom" | "attestation" | "other";

/** What refers to an image, with what refers to that in turn. */
export interface Referrer {
  readonly kind: ReferrerKind;
  readonly descriptor: Descriptor;
  /** Where cosign keeps what it attaches by name; undefined for what the registry lists as a referrer. */
  readonly tag?: string | undefined;
  readonly referrers: readonly Referrer[];
}

const maxDepth = 4;
const maxReferrers = 1_000;

/**
 * The tree of what refers to a manifest: signatures, SBOMs, attestations. The registry is asked for referrers
 * (distribution-spec, "Listing Referrers") and for the three tags under which cosign attaches things; tags are not listed.
 */
export async function readReferrers(
  client: Pick<RegistryClient, "referrers" | "resolve">,
  reference: Reference,
  digest: Digest,
  options: CallOptions = {},
): Promise<readonly Referrer[]> {
  const seen = new Set<Digest>([digest]);
  const { registry, repository } = reference;
  const below = async (of: Digest, depth: number): Promise<Referrer[]> => {
    if (depth === maxDepth) return [];
    const found: Referrer[] = [];
    for (const descriptor of await client.referrers({ registry, repository, digest: of }, options)) {
      // Each is told of once, so that no circle leads on for ever.
      if (seen.has(descriptor.digest)) continue;
      seen.add(descriptor.digest);
      if (seen.size > maxReferrers)
        throw new OcidError(
          "RESOURCE_EXHAUSTED",
          `${repository}@${digest} has more than ${maxReferrers} referrers`,
        );
      found.push({
        kind: kindOf(descriptor),
        descriptor,
        referrers: await below(descriptor.digest, depth + 1),
      });
    }
    return found;
  };
  return [...(await below(digest, 0)), ...(await attachedByTag(client, reference, digest, options))];
}

const cosignTags = { sig: "signature", att: "attestation", sbom: "sbom" } as const;

async function attachedByTag(
  client: Pick<RegistryClient, "resolve">,
  { registry, repository }: Reference,
  digest: Digest,
  options: CallOptions,
): Promise<readonly Referrer[]> {
  const found = await Promise.all(
    Object.entries(cosignTags).map(async ([suffix, kind]): Promise<Referrer[]> => {
      const tag = `${digestAlgorithm(digest)}-${digestHex(digest)}.${suffix}`;
      try {
        const descriptor = await client.resolve({ registry, repository, tag }, options);
        return [{ kind, descriptor, tag, referrers: [] }];
      } catch (error) {
        if (isOcidError(error, "NOT_FOUND")) return [];
        throw error;
      }
    }),
  );
  return found.flat();
}

/** By the artifact's type, and what Sigstore's bundles say of their content. */
function kindOf({ artifactType = "", annotations = {} }: Descriptor): ReferrerKind {
  if (/spdx|cyclonedx|syft|sbom/.test(artifactType)) return "sbom";
  const predicate =
    annotations["dev.sigstore.bundle.predicateType"] ?? annotations["in-toto.io/predicate-type"];
  if (predicate !== undefined && !/\/sign\/v\d/.test(predicate))
    return /spdx|cyclonedx/.test(predicate) ? "sbom" : "attestation";
  if (/sigstore\.bundle|signature|simplesigning|cosign\.artifact\.sig/.test(artifactType)) return "signature";
  return /in-toto|attestation|provenance/.test(artifactType) ? "attestation" : "other";
}
