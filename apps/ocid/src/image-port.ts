import { isOcidError, type Logger, OcidError, SharedFlight } from "@ocid/base";
import type { ImagePort, PullCredentials, StoredImage } from "@ocid/cri-server";
import {
  type ArtifactStore,
  copyImage,
  createRegistrySource,
  createStorageDestination,
  type StoredArtifact,
} from "@ocid/image-copy";
import {
  authFileCredentials,
  type CredentialSource,
  createRegistryClient,
  fixedCredential,
  loadRegistriesConf,
  resolveShortName,
} from "@ocid/registry";
import { formatReference, parseImageConfig, parseReference, referenceName } from "@ocid/spec";
import type { ImageRecord, Store } from "@ocid/storage";
import { describeArtifacts, findArtifact, listArtifacts } from "./artifacts.ts";
import type { PullHub } from "./pull-hub.ts";

export interface ImagePortOptions {
  readonly store: Store;
  readonly artifacts: ArtifactStore;
  /** Images that must stay, by name; asked each time, because the configuration may change. */
  readonly pinned: () => readonly string[];
  readonly pulls: PullHub;
  readonly logger: Logger;
  readonly userAgent: string;
}

/** The CRI's images: those of the store, pulled from registries. */
export function createImagePort(options: ImagePortOptions): ImagePort {
  const { store, artifacts, logger } = options;
  const flights = new SharedFlight<StoredImage>();
  const describe = (record: ImageRecord) => describeImage(store, record, pinnedNames(options.pinned()));
  return {
    async list() {
      const images = await Promise.all((await store.listImages()).map(describe));
      return [...images, ...(await listArtifacts(artifacts))];
    },
    async find(reference) {
      const record = await findImage(store, reference);
      return record ? await describe(record) : await findArtifact(artifacts, reference);
    },
    async pull(reference, { credentials, signal }) {
      // Callers with the same credentials share one pull; the last one to go away cancels it.
      const key = JSON.stringify([reference, credentials ?? null]);
      return await flights.join(
        key,
        async flightSignal => {
          const pulled = await pullImage(options, reference, credentials, flightSignal);
          return "id" in pulled ? await describe(pulled) : describeArtifacts([pulled]);
        },
        signal,
      );
    },
    async remove(reference, { signal } = {}) {
      const record = await findImage(store, reference);
      if (!record) {
        const artifact = await findArtifact(artifacts, reference);
        if (artifact) await artifacts.remove([...artifact.repoTags, ...artifact.repoDigests]);
        return;
      }
      const { removedLayers } = await store.removeImage(record.id, { signal });
      logger.info("removed an image", { image: reference, layers: removedLayers.length });
    },
    async usage(more = {}) {
      const { images, containers } = await store.usage(more);
      const at = (usage: typeof images) => [
        { mountpoint: store.root, usedBytes: usage.bytes, inodesUsed: usage.inodes },
      ];
      return { images: at(images), containers: at(containers) };
    },
  };
}

async function pullImage(
  options: ImagePortOptions,
  name: string,
  credentials: PullCredentials | undefined,
  signal: AbortSignal,
): Promise<ImageRecord | StoredArtifact> {
  // Read at each pull, so that what an operator changes counts at once.
  const registriesConf = loadRegistriesConf();
  await using client = createRegistryClient({
    registriesConf,
    credentials: credentialSource(credentials, registriesConf.credentialHelpers),
    userAgent: options.userAgent,
    logger: options.logger,
  });
  const candidates = resolveShortName(registriesConf, name);
  const failures: string[] = [];
  for (const reference of candidates) {
    const source = createRegistrySource(client, reference);
    using followed = options.pulls.follow(name);
    const following = { signal, onProgress: followed.onProgress };
    try {
      const { image } = await copyImage(
        source,
        createStorageDestination(options.store, reference),
        following,
      );
      return await options.store.getImage(image!.id);
    } catch (error) {
      signal.throwIfAborted();
      if (isOcidError(error) && error.reason === "NotAnImage")
        return await options.artifacts.put(source, formatReference(reference), following);
      if (candidates.length === 1) throw error;
      failures.push((error as Error).message);
    }
  }
  throw new OcidError("NOT_FOUND", `no registry has the image ${name}: ${failures.join("; ")}`);
}

function credentialSource(
  credentials: PullCredentials | undefined,
  helpers: readonly string[],
): CredentialSource {
  const registry = credentials?.serverAddress?.replace(/^https?:\/\//, "").split("/")[0] || undefined;
  if (credentials?.registryToken)
    return fixedCredential({ kind: "registryToken", token: credentials.registryToken }, registry);
  if (credentials?.identityToken)
    return fixedCredential({ kind: "identityToken", token: credentials.identityToken }, registry);
  if (credentials?.username)
    return fixedCredential(
      { kind: "basic", username: credentials.username, password: credentials.password ?? "" },
      registry,
    );
  return authFileCredentials({ helpers });
}

/** By id, name, or short name as registries.conf resolves it. */
async function findImage(store: Store, reference: string): Promise<ImageRecord | undefined> {
  const found = await store.findImage(reference);
  if (found) return found;
  try {
    for (const candidate of resolveShortName(loadRegistriesConf(), reference)) {
      const record = await store.findImage(formatReference(candidate));
      if (record) return record;
    }
  } catch {
    // What is no name names no image.
  }
  return undefined;
}

function pinnedNames(names: readonly string[]): ReadonlySet<string> {
  return new Set(names.map(name => formatReference(parseReference(name))));
}

async function describeImage(
  store: Store,
  record: ImageRecord,
  pinned: ReadonlySet<string>,
): Promise<StoredImage> {
  const config = parseImageConfig(await store.readImageData(record.id, `sha256:${record.id}`));
  const repositories = [...new Set(record.names.map(name => referenceName(parseReference(name))))];
  const repoTags = record.names.filter(name => !name.includes("@"));
  return {
    id: `sha256:${record.id}`,
    repoTags,
    repoDigests: record.digest === undefined ? [] : repositories.map(name => `${name}@${record.digest}`),
    sizeBytes: await store.imageSize(record.id),
    config,
    pinned: repoTags.some(name => pinned.has(name)),
  };
}
