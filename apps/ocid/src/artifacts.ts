import type { StoredImage } from "@ocid/cri-server";
import type { ArtifactStore, StoredArtifact } from "@ocid/image-copy";
import { formatReference, parseReference, referenceName } from "@ocid/spec";

/** Artifacts as the CRI speaks of images; the names of one manifest belong to one of them. */
export async function listArtifacts(store: ArtifactStore): Promise<readonly StoredImage[]> {
  const byDigest = new Map<string, StoredArtifact[]>();
  for (const artifact of await store.list())
    byDigest.set(artifact.digest, [...(byDigest.get(artifact.digest) ?? []), artifact]);
  return [...byDigest.values()].map(describeArtifacts);
}

/** By id or an id's prefix, by name, or by `repository@digest`. */
export async function findArtifact(
  store: ArtifactStore,
  reference: string,
): Promise<StoredImage | undefined> {
  const wanted = nameOf(reference);
  const hex = reference.replace(/^sha256:/, "");
  const found = (await listArtifacts(store)).filter(
    ({ id, repoTags, repoDigests }) =>
      repoTags.includes(wanted) ||
      repoDigests.includes(wanted) ||
      (/^[0-9a-f]{3,64}$/.test(hex) && id.startsWith(`sha256:${hex}`)),
  );
  return found.length === 1 ? found[0] : undefined;
}

export function describeArtifacts(artifacts: readonly StoredArtifact[]): StoredImage {
  const { digest, sizeBytes, files } = artifacts[0]!;
  const repositories = artifacts.map(({ name }) => referenceName(parseReference(name)));
  return {
    id: digest,
    repoTags: artifacts.map(({ name }) => name).filter(name => !name.includes("@")),
    repoDigests: [...new Set(repositories)].map(repository => `${repository}@${digest}`),
    sizeBytes,
    config: { os: "", architecture: "", rootfs: { type: "layers", diff_ids: [] } },
    pinned: false,
    files,
  };
}

function nameOf(reference: string): string {
  try {
    return formatReference(parseReference(reference));
  } catch {
    return reference;
  }
}
