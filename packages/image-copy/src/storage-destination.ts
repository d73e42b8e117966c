import { type Reference, referenceName } from "@ocid/spec";
import type { ImageStorePort } from "./ports.ts";

/** An image in local storage as the destination of a copy. */
export interface StorageDestination {
  readonly kind: "storage";
  readonly name: string;
  readonly store: ImageStorePort;
  /** Under which names it is kept: `registry/repository:tag`, and `registry/repository@digest` for what was asked for by digest. */
  readonly names: readonly string[];
}

/** Without a reference the image is kept by its id only. */
export function createStorageDestination(store: ImageStorePort, reference?: Reference): StorageDestination {
  const names = reference === undefined ? [] : storedNames(reference);
  return {
    kind: "storage",
    name: `containers-storage:${reference === undefined ? "" : (names.at(-1) ?? referenceName(reference))}`,
    store,
    names,
  };
}

/** A reference with tag and digest is kept under both. */
export function storedNames(reference: Reference): readonly string[] {
  const name = referenceName(reference);
  return [
    ...(reference.digest === undefined ? [] : [`${name}@${reference.digest}`]),
    ...(reference.tag === undefined ? [] : [`${name}:${reference.tag}`]),
  ];
}
