import { OcidError } from "@ocid/base";
import type { RegistryClient } from "@ocid/registry";
import { parseReference } from "@ocid/spec";
import { createDirectoryDestination, createDirectorySource } from "./directory-transport.ts";
import { createDockerArchiveDestination } from "./docker-archive-destination.ts";
import { openDockerArchiveSource } from "./docker-archive-source.ts";
import { createDockerDaemonDestination, openDockerDaemonSource } from "./docker-daemon-transport.ts";
import { type ImageName, referenceOf } from "./image-name.ts";
import type { BlobDestination, CallOptions, ImageSource } from "./image-source.ts";
import { createLayoutDestination, createLayoutSource } from "./layout-transport.ts";
import { createOciArchiveDestination, openOciArchiveSource } from "./oci-archive-transport.ts";
import type { ImageStorePort } from "./ports.ts";
import { createRegistryDestination, createRegistrySource } from "./registry-transport.ts";
import type { SignatureStores } from "./signatures/registries-d.ts";
import { createStorageDestination, type StorageDestination } from "./storage-destination.ts";
import { createStorageSource } from "./storage-source.ts";

/** What the transports work with. */
export interface ImageBackends {
  readonly registry?: RegistryClient | undefined;
  /** Where signatures of images in registries lie. Default: as where registries.d says nothing. */
  readonly signatureStores?: SignatureStores | undefined;
  /** The store of `containers-storage:` names. */
  readonly store?: ImageStorePort | undefined;
  /** The engine's socket for `docker-daemon:` names. Default: that of `DOCKER_HOST`, or the usual one. */
  readonly dockerSocket?: string | undefined;
}

/** The source that a name stands for. Dispose of it. */
export async function openImageSource(
  name: ImageName,
  backends: ImageBackends,
  options: CallOptions = {},
): Promise<ImageSource & AsyncDisposable> {
  return disposable(await openSource(name, backends, options));
}

/** The destination that a name stands for. Dispose of it. */
export function createImageDestination(
  name: ImageName,
  backends: ImageBackends,
): (BlobDestination | StorageDestination) & AsyncDisposable {
  return disposable(createDestination(name, backends));
}

async function openSource(
  name: ImageName,
  backends: ImageBackends,
  options: CallOptions,
): Promise<ImageSource> {
  switch (name.transport) {
    case "docker":
      return createRegistrySource(
        need(backends.registry, "registry"),
        referenceOf(name),
        backends.signatureStores,
      );
    case "containers-storage":
      return await createStorageSource(need(backends.store, "local storage"), name.text);
    case "oci":
      return createLayoutSource(name.path, name.tag);
    case "oci-archive":
      return await openOciArchiveSource(name.path, name.tag, options);
    case "docker-archive":
      return await openDockerArchiveSource(name.path, name.image, options);
    case "dir":
      return createDirectorySource(name.path);
    case "docker-daemon":
      return await openDockerDaemonSource(name.text, { ...options, socket: backends.dockerSocket });
  }
}

function createDestination(name: ImageName, backends: ImageBackends): BlobDestination | StorageDestination {
  switch (name.transport) {
    case "docker":
      return createRegistryDestination(need(backends.registry, "registry"), referenceOf(name));
    case "containers-storage":
      return createStorageDestination(need(backends.store, "local storage"), referenceOf(name));
    case "oci":
      return createLayoutDestination(name.path, name.tag);
    case "oci-archive":
      return createOciArchiveDestination(name.path, name.tag);
    case "docker-archive":
      if (typeof name.image === "number")
        throw new OcidError(
          "INVALID_ARGUMENT",
          `docker-archive:${name.path}:@${name.image} names no image to write`,
        );
      return createDockerArchiveDestination(
        name.path,
        name.image === undefined ? undefined : parseReference(name.image),
      );
    case "dir":
      return createDirectoryDestination(name.path);
    case "docker-daemon":
      return createDockerDaemonDestination(referenceOf(name), { socket: backends.dockerSocket });
  }
}

function need<T>(backend: T | undefined, what: string): T {
  if (backend === undefined)
    throw new OcidError("FAILED_PRECONDITION", `there is no ${what} to be used here`);
  return backend;
}

function disposable<T extends object>(thing: T & Partial<AsyncDisposable>): T & AsyncDisposable {
  return { ...thing, [Symbol.asyncDispose]: async () => thing[Symbol.asyncDispose]?.() };
}
