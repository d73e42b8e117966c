import { OcidError } from "@ocid/base";
import {
  type BlobDestination,
  createDirectoryDestination,
  createDirectorySource,
  createLayoutDestination,
  createLayoutSource,
  createRegistryDestination,
  createRegistrySource,
  createStorageDestination,
  createStorageSource,
  type ImageSource,
  parseImageName,
  type StorageDestination,
} from "@ocid/image-copy";
import { loadRegistriesConf, type RegistryClient, resolveShortName } from "@ocid/registry";
import { parseReference } from "@ocid/spec";
import type { Store } from "@ocid/storage";

export interface Places {
  readonly client: RegistryClient;
  /** Opened when a name asks for local storage. */
  readonly store: () => Promise<Store>;
}

/** Where an image named on the command line is copied from. */
export async function openSource(text: string, places: Places): Promise<ImageSource> {
  const name = parseImageName(text);
  switch (name.transport) {
    case "docker":
      return createRegistrySource(places.client, firstReference(name.text));
    case "containers-storage":
      return await createStorageSource(await places.store(), name.text);
    case "oci":
      return createLayoutSource(name.path, name.tag);
    case "dir":
      return createDirectorySource(name.path);
  }
}

export async function openDestination(
  text: string,
  places: Places,
): Promise<BlobDestination | StorageDestination> {
  const name = parseImageName(text);
  switch (name.transport) {
    case "docker":
      return createRegistryDestination(places.client, parseReference(name.text));
    case "containers-storage":
      return createStorageDestination(await places.store(), parseReference(name.text));
    case "oci":
      return createLayoutDestination(name.path, name.tag);
    case "dir":
      return createDirectoryDestination(name.path);
  }
}

/** A short name as registries.conf resolves it; where it could mean several, the first. */
export function firstReference(text: string): ReturnType<typeof parseReference> {
  const [reference] = resolveShortName(loadRegistriesConf(), text);
  if (!reference) throw new OcidError("INVALID_ARGUMENT", `not an image reference: ${text}`);
  return reference;
}
