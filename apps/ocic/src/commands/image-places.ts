import { isOcidError, messageOf, OcidError } from "@ocid/base";
import {
  createImageDestination,
  type ImageBackends,
  type ImageName,
  loadSignatureStores,
  openImageSource,
  parseImageName,
} from "@ocid/image-copy";
import { loadRegistriesConf, type RegistryClient, resolveShortName } from "@ocid/registry";
import { formatReference, type Reference } from "@ocid/spec";
import { loadStorageConf, openStore, type Store } from "@ocid/storage";
import { type GlobalOptions, openLocalStore } from "../global-options.ts";

export interface Places {
  readonly client: RegistryClient;
  /** Opened when a name asks for local storage. */
  readonly store: () => Promise<Store>;
  /** Ends what is opened here. */
  readonly stack: AsyncDisposableStack;
}

type Source = Awaited<ReturnType<typeof openImageSource>>;
type Destination = ReturnType<typeof createImageDestination>;

/** Names that say where an image is; all others are those of local storage or of a registry. */
export const transportPattern =
  /^(docker:\/\/|oci:|oci-archive:|docker-archive:|docker-daemon:|dir:|containers-storage:)/;

/** The store of the options, opened once. */
export function sharedStore(stack: AsyncDisposableStack, options: GlobalOptions): Places["store"] {
  let opened: Promise<Store> | undefined;
  return () => {
    opened ??= openLocalStore(options).then(store => stack.use(store));
    return opened;
  };
}

/** An image to look at: a bare name is one of local storage where there is such an image, else one of a registry. */
export async function openForReading(text: string, places: Places, signal?: AbortSignal): Promise<Source> {
  return await openSource(
    (await isStored(text, places)) ? `containers-storage:${text}` : text,
    places,
    signal,
  );
}

async function isStored(text: string, places: Places): Promise<boolean> {
  if (transportPattern.test(text)) return false;
  try {
    return (await (await places.store()).findImage(text)) !== undefined;
  } catch (error) {
    // Who may not open the store, or has none, can still look into registries.
    if (isOcidError(error, "PERMISSION_DENIED") || isOcidError(error, "UNIMPLEMENTED")) return false;
    throw error;
  }
}

/** Where an image named on the command line is copied from. */
export async function openSource(text: string, places: Places, signal?: AbortSignal): Promise<Source> {
  const name = parseImageName(text);
  // A short name is resolved as registries.conf says; only for reading, never for writing.
  const resolved: ImageName =
    name.transport === "docker"
      ? { ...name, text: formatReference(await findReference(places.client, name.text)) }
      : name;
  return places.stack.use(await openImageSource(resolved, await backends(name, places), { signal }));
}

export async function openDestination(text: string, places: Places): Promise<Destination> {
  const name = parseImageName(text);
  return places.stack.use(createImageDestination(name, await backends(name, places)));
}

async function backends(name: ImageName, places: Places): Promise<ImageBackends> {
  const registry = places.client;
  if (name.transport === "docker") return { registry, signatureStores: await loadSignatureStores() };
  if (name.transport !== "containers-storage") return { registry };
  if (name.store === undefined) return { registry, store: await places.store() };
  const { root, runRoot = loadStorageConf().runRoot } = name.store;
  return { registry, store: places.stack.use(await openStore({ root, runRoot })) };
}

/**
 * A short name as registries.conf resolves it; where it could mean several, the first that there is
 * (containers-registries.conf(5), "short-name-mode").
 */
export async function findReference(client: RegistryClient, text: string): Promise<Reference> {
  const candidates = resolveShortName(loadRegistriesConf(), text);
  if (candidates.length === 1) return candidates[0]!;
  const failures: string[] = [];
  for (const candidate of candidates) {
    try {
      await client.resolve(candidate);
      return candidate;
    } catch (error) {
      failures.push(messageOf(error));
    }
  }
  throw new OcidError("NOT_FOUND", `no registry has the image ${text}: ${failures.join("; ")}`);
}

/** A short name as registries.conf resolves it; where it could mean several, the first. */
export function firstReference(text: string): Reference {
  const [reference] = resolveShortName(loadRegistriesConf(), text);
  if (!reference) throw new OcidError("INVALID_ARGUMENT", `not an image reference: ${text}`);
  return reference;
}
