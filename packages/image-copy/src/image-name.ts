import { OcidError } from "@ocid/base";
import { parseReference, type Reference } from "@ocid/spec";

/** Where an image is, as people write it: `transport:place`. */
export type ImageName =
  | { readonly transport: "docker"; readonly text: string }
  | {
      readonly transport: "containers-storage";
      readonly text: string;
      /** The store that the name asks for by `[overlay@root+runroot]`. */
      readonly store?: StoreLocation;
    }
  | {
      readonly transport: "oci" | "oci-archive";
      readonly path: string;
      readonly tag: string | undefined;
    }
  | {
      readonly transport: "docker-archive";
      readonly path: string;
      /** Which image of the archive: its name, or its place from 0. */
      readonly image: string | number | undefined;
    }
  | { readonly transport: "dir"; readonly path: string }
  /** An image of a Docker engine, by name or by its id. */
  | { readonly transport: "docker-daemon"; readonly text: string };

export interface StoreLocation {
  readonly driver?: string;
  readonly root: string;
  readonly runRoot?: string;
}

const transports =
  "docker://, containers-storage:, oci:, oci-archive:, docker-archive:, docker-daemon:, dir:";

/** Reads an image's name; without a transport it is one in a registry. INVALID_ARGUMENT lists the transports. */
export function parseImageName(text: string): ImageName {
  const colon = text.indexOf(":");
  const rest = text.slice(colon + 1);
  switch (text.slice(0, colon)) {
    case "docker":
      if (!rest.startsWith("//")) break;
      return { transport: "docker", text: rest.slice(2) };
    case "containers-storage":
      return parseStorageName(rest, text);
    case "dir":
      return { transport: "dir", path: nonEmpty(rest, text) };
    case "oci":
      return { transport: "oci", ...splitTag(rest, text) };
    case "oci-archive":
      return { transport: "oci-archive", ...splitTag(rest, text) };
    case "docker-archive":
      return parseDockerArchiveName(rest, text);
    case "docker-daemon":
      return { transport: "docker-daemon", text: nonEmpty(rest, text) };
    case "ostree":
    case "sif":
    case "tarball":
      throw new OcidError(
        "UNIMPLEMENTED",
        `${text}: this transport is not supported (there are ${transports})`,
      );
  }
  return { transport: "docker", text };
}

/** The reference of a name in a registry, checked. */
export function referenceOf(name: { readonly text: string }): Reference {
  return parseReference(name.text);
}

function parseStorageName(rest: string, text: string): ImageName {
  if (!rest.startsWith("[")) return { transport: "containers-storage", text: nonEmpty(rest, text) };
  const end = rest.indexOf("]");
  const match =
    /^\[(?:(?<driver>[a-z0-9]+)@)?(?<root>\/[^+:\]]*)(?:\+(?<runRoot>\/[^:\]]*))?(?::[^\]]*)?\]$/.exec(
      rest.slice(0, end + 1),
    );
  if (!match?.groups)
    throw new OcidError("INVALID_ARGUMENT", `${text}: the store should be written [overlay@/root+/runroot]`);
  const { driver, root, runRoot } = match.groups;
  return {
    transport: "containers-storage",
    text: nonEmpty(rest.slice(end + 1), text),
    store: {
      root: root!,
      ...(driver === undefined ? {} : { driver }),
      ...(runRoot === undefined ? {} : { runRoot }),
    },
  };
}

function parseDockerArchiveName(rest: string, text: string): ImageName {
  const colon = rest.indexOf(":", driveLength(rest));
  if (colon === -1) return { transport: "docker-archive", path: nonEmpty(rest, text), image: undefined };
  const image = rest.slice(colon + 1);
  return {
    transport: "docker-archive",
    path: nonEmpty(rest.slice(0, colon), text),
    image: /^@\d+$/.test(image) ? Number(image.slice(1)) : image || undefined,
  };
}

function splitTag(rest: string, text: string): { readonly path: string; readonly tag: string | undefined } {
  const colon = rest.lastIndexOf(":");
  const tag =
    colon > rest.lastIndexOf("/") && colon > Math.max(0, driveLength(rest) - 1)
      ? rest.slice(colon + 1)
      : undefined;
  return {
    path: nonEmpty(tag === undefined ? rest : rest.slice(0, colon), text),
    tag: tag || undefined,
  };
}

/** The colon of `C:\\images` is no tag's. */
function driveLength(path: string): number {
  return /^[A-Za-z]:[\\/]/.test(path) ? 2 : 0;
}

function nonEmpty(value: string, text: string): string {
  if (value === "") throw new OcidError("INVALID_ARGUMENT", `${text} names no image`);
  return value;
}
