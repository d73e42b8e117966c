import { isOcidError, type Logger, OcidError, SharedFlight } from "@ocid/base";
import type { ImagePort, PullCredentials, StoredImage } from "@ocid/cri-server";
import {
  type ArtifactStore,
  admitStoredImage,
  copyImage,
  createRegistrySource,
  createStorageDestination,
  type ImagePolicy,
  loadSignatureStores,
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
import {
  formatReference,
  parseImageConfig,
  parseManifest,
  parseReference,
  type Reference,
  referenceName,
} from "@ocid/spec";
import type { ImageRecord, Store } from "@ocid/storage";
import { describeArtifacts, findArtifact, listArtifacts } from "./artifacts.ts";
import { type PolicyFiles, policyFor } from "./image-policy.ts";
import type { PullHub } from "./pull-hub.ts";

export interface ImagePortOptions {
  readonly store: Store;
  readonly artifacts: ArtifactStore;
  /** Images that must stay, by name; asked each time, because the configuration may change. */
  readonly pinned: () => readonly string[];
  readonly pulls: PullHub;
  readonly policies: () => PolicyFiles;
  readonly logger: Logger;
  readonly userAgent: string;
}

/** The CRI's images: those of the store, pulled from registries. */
export function createImagePort(options: ImagePortOptions): ImagePort {
  const { store, artifacts, logger } = options;
  const flights = new SharedFlight<StoredImage>();
  const describe = (record: ImageRecord, pinned = pinnedNames(options.pinned())) =>
    describeImage(store, record, pinned);
  return {
    async list() {
      const pinned = pinnedNames(options.pinned());
      const images = await Promise.all(
        (await store.listImages()).map(record =>
          describe(record, pinned).catch(async error => {
            // One that was removed while the list was made is not in it.
            if ((await store.listImages()).some(({ id }) => id === record.id)) throw error;
            return undefined;
          }),
        ),
      );
      return [...images.filter(image => image !== undefined), ...(await listArtifacts(artifacts))];
    },
    async find(reference) {
      const record = await findImage(store, reference);
      if (!record) return await findArtifact(artifacts, reference);
      return { ...(await describe(record)), checkpointOf: await checkpointOf(store, record) };
    },
    async pull(reference, { credentials, namespace, signal }) {
      // Callers with the same credentials and policy share one pull; the last one to go away cancels it.
      const policyOf = options.policies().directory === "" ? "" : namespace;
      const key = JSON.stringify([reference, credentials ?? null, policyOf]);
      return await flights.join(
        key,
        async flightSignal => {
          const policy = await policyFor(options.policies(), namespace);
          const pulled = await pullImage(options, reference, { credentials, policy, signal: flightSignal });
          return "id" in pulled ? await describe(pulled) : describeArtifacts([pulled]);
        },
        signal,
      );
    },
    async admit(image, { name, namespace, signal }) {
      const policy = await policyFor(options.policies(), namespace);
      if (image.files) return await admitArtifact(artifacts, image, policy, { signal });
      const record = await store.getImage(image.id);
      await admitStoredImage(store, record, namesInUse(record, name), policy, { signal });
    },
    async admitFile(path, { namespace }) {
      const policy = await policyFor(options.policies(), namespace);
      const rules = policy.requirementsFor({ transport: "checkpoint", scopes: [path] });
      if (rules.some(({ type }) => type !== "insecureAcceptAnything"))
        throw new OcidError(
          "PERMISSION_DENIED",
          `the policy does not let ${path} be used: an archive has no signatures; make an image of it, or a rule for the transport "checkpoint"`,
          { reason: "PolicyRejected" },
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
      const at = (mountpoint: string, usage: typeof images) => [
        { mountpoint, usedBytes: usage.bytes, inodesUsed: usage.inodes },
      ];
      return { images: at(store.imageRoot, images), containers: at(store.root, containers) };
    },
  };
}

/**
 * The names under which an image is about to be used: the one that a pod asks by, or, where that is an id, those that it
 * has here. A short name is whichever the image has of those that it can stand for.
 */
function namesInUse(record: ImageRecord, asked: string): readonly Reference[] {
  const own = record.names.map(name => parseReference(name));
  const id = asked.replace(/^sha256:/, "");
  if (id === "" || record.id.startsWith(id)) return own;
  const candidates = resolveShortName(loadRegistriesConf(), asked);
  const known = candidates.filter(candidate =>
    own.some(name => referenceName(name) === referenceName(candidate)),
  );
  return known.length > 0 ? known : candidates;
}

/** An artifact that has several names is used under any that the policy lets it. */
async function admitArtifact(
  store: ArtifactStore,
  { repoTags, repoDigests, id }: StoredImage,
  policy: ImagePolicy,
  options: { readonly signal?: AbortSignal | undefined },
): Promise<void> {
  const names = (await store.list())
    .map(({ name }) => name)
    .filter(name => repoTags.includes(name) || repoDigests.includes(name));
  let failure: unknown = new OcidError("NOT_FOUND", `artifact ${id} is not on this node any more`);
  for (const name of names) {
    try {
      return await store.admit(name, policy, options);
    } catch (error) {
      failure = error;
    }
  }
  throw failure;
}

async function pullImage(
  options: ImagePortOptions,
  name: string,
  {
    credentials,
    policy,
    signal,
  }: {
    readonly credentials: PullCredentials | undefined;
    readonly policy: ImagePolicy;
    readonly signal: AbortSignal;
  },
): Promise<ImageRecord | StoredArtifact> {
  // Read at each pull, so that what an operator changes counts at once.
  const registriesConf = loadRegistriesConf();
  await using client = createRegistryClient({
    registriesConf,
    credentials: credentialSource(credentials, registriesConf.credentialHelpers),
    userAgent: options.userAgent,
    logger: options.logger,
  });
  const signatureStores = await loadSignatureStores();
  const candidates = resolveShortName(registriesConf, name);
  const failures: string[] = [];
  for (const reference of candidates) {
    const source = createRegistrySource(client, reference, signatureStores);
    using followed = options.pulls.follow(name);
    const following = { signal, policy, onProgress: followed.onProgress };
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
      // What the policy refuses is not looked for elsewhere.
      if (candidates.length === 1 || (isOcidError(error) && error.reason === "PolicyRejected")) throw error;
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

/**
 * The container that an image is a checkpoint of, by the annotations that CRI-O and containerd look for. A manifest that
 * another program left and that cannot be read says nothing: images run by their configs.
 */
async function checkpointOf(store: Store, record: ImageRecord): Promise<string | undefined> {
  if (!record.bigDataNames.includes("manifest")) return undefined;
  const bytes = await store.readImageData(record.id, "manifest");
  try {
    const parsed = parseManifest(bytes);
    const { annotations } = parsed.kind === "image" ? parsed.manifest : parsed.index;
    return checkpointAnnotations.map(key => annotations?.[key]).find(name => name !== undefined);
  } catch {
    return undefined;
  }
}

const checkpointAnnotations = [
  "io.kubernetes.cri-o.annotations.checkpoint.name",
  "org.criu.checkpoint.container.name",
];

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
