import { OcidError } from "@ocid/base";
import { type Digest, parseReference, referenceName } from "@ocid/spec";
import type { ImageRecord } from "./image-records.ts";

/** The image that a person's word means: id, name, unique prefix of an id, or `repository@digest`. */
export function findImage(images: readonly ImageRecord[], reference: string): ImageRecord | undefined {
  const id = reference.replace(/^sha256:(?=[0-9a-f]{64}$)/, "");
  const exact =
    images.find(image => image.id === id) ?? images.find(image => image.names.includes(reference));
  if (exact) return exact;
  if (/^[0-9a-f]{3,63}$/.test(id)) {
    const matches = images.filter(image => image.id.startsWith(id));
    if (matches.length > 1)
      throw new OcidError(
        "INVALID_ARGUMENT",
        `image id ${reference} is ambiguous: ${matches.map(image => image.id.slice(0, 16)).join(", ")}`,
      );
    if (matches[0]) return matches[0];
  }
  return findByName(images, reference);
}

function findByName(images: readonly ImageRecord[], text: string): ImageRecord | undefined {
  let reference: ReturnType<typeof parseReference>;
  try {
    reference = parseReference(text);
  } catch {
    return undefined;
  }
  const name = referenceName(reference);
  if (reference.digest !== undefined) {
    return images.find(
      image =>
        digestsOf(image).includes(reference.digest!) && image.names.some(other => nameOf(other) === name),
    );
  }
  const full = `${name}:${reference.tag}`;
  return (
    images.find(image => image.names.includes(full)) ??
    images.find(image => image.names.includes(`localhost/${text.includes(":") ? text : `${text}:latest`}`))
  );
}

/** Digests of all manifests by which an image is known: its own and that of the index it came from. */
export function digestsOf(image: ImageRecord): readonly Digest[] {
  const manifests = Object.entries(image.bigDataDigests).filter(([key]) => key.startsWith("manifest"));
  return [...new Set([...(image.digest ? [image.digest] : []), ...manifests.map(([, digest]) => digest)])];
}

function nameOf(text: string): string | undefined {
  try {
    return referenceName(parseReference(text));
  } catch {
    return undefined;
  }
}
