import { transportPattern } from "./image-places.ts";

/** Parts `IMAGE:/path` at the last `:/` that is neither a transport's (`oci:/dir`) nor a URL's (`docker://`). */
export function splitPath(text: string): { readonly image: string; readonly path: string | undefined } {
  const transport = transportPattern.exec(text)?.[0].length ?? 0;
  for (let at = text.lastIndexOf(":/"); at >= transport; at = text.lastIndexOf(":/", at - 1))
    if (text[at + 2] !== "/" || text.slice(at + 1).startsWith("///"))
      return { image: text.slice(0, at), path: text.slice(at + 1) };
  return { image: text, path: undefined };
}
