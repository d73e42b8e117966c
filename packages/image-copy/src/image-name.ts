import { OcidError } from "@ocid/base";
import { parseReference, type Reference } from "@ocid/spec";

/** Where an image is, as people write it: `transport:place`. */
export type ImageName =
  | { readonly transport: "docker"; readonly text: string }
  | { readonly transport: "containers-storage"; readonly text: string }
  | { readonly transport: "oci"; readonly path: string; readonly tag: string | undefined }
  | { readonly transport: "dir"; readonly path: string };

const transports = "docker://, containers-storage:, oci:, dir:";

/** Reads an image's name; without a transport it is one in a registry. INVALID_ARGUMENT lists the transports. */
export function parseImageName(text: string): ImageName {
  if (text.startsWith("docker://")) return { transport: "docker", text: text.slice("docker://".length) };
  if (text.startsWith("containers-storage:"))
    return { transport: "containers-storage", text: text.slice("containers-storage:".length) };
  if (text.startsWith("dir:")) return { transport: "dir", path: nonEmpty(text.slice("dir:".length), text) };
  if (text.startsWith("oci:")) {
    const rest = text.slice("oci:".length);
    const colon = rest.lastIndexOf(":");
    const tag = colon > rest.lastIndexOf("/") && colon > 0 ? rest.slice(colon + 1) : undefined;
    return {
      transport: "oci",
      path: nonEmpty(tag === undefined ? rest : rest.slice(0, colon), text),
      tag: tag || undefined,
    };
  }
  if (/^(oci-archive|docker-archive|docker-daemon|ostree|sif|tarball):/.test(text))
    throw new OcidError(
      "UNIMPLEMENTED",
      `${text}: this transport is not supported yet (there are ${transports})`,
    );
  return { transport: "docker", text };
}

/** The reference of a name in a registry, checked. */
export function referenceOf(name: Extract<ImageName, { text: string }>): Reference {
  return parseReference(name.text);
}

function nonEmpty(path: string, text: string): string {
  if (path === "") throw new OcidError("INVALID_ARGUMENT", `${text} names no place`);
  return path;
}
