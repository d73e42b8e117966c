import type { Digest } from "@ocid/spec";
import type { ImageSource } from "../image-source.ts";

/** A source whose signatures are read once: what a policy was held against is what is kept. */
export function rememberSignatures(source: ImageSource): ImageSource {
  if (!source.getSignatures) return source;
  const read = new Map<Digest, ReturnType<NonNullable<ImageSource["getSignatures"]>>>();
  return {
    ...source,
    getSignatures(digest, options) {
      const found = read.get(digest) ?? source.getSignatures!(digest, options);
      read.set(digest, found);
      return found;
    },
  };
}
