import { normalize } from "node:path";

/** A path in a container as there is one of for each place: absolute, without `.`, `..` and a slash at the end. */
export function plainPath(path: string): string {
  return normalize(`/${path}`).replace(/(?<=.)\/$/, "");
}
