import { closest, distance } from "fastest-levenshtein";

/** The one of `known` that somebody who wrote `name` most likely meant; undefined when none is near. */
export function nearestName(name: string, known: readonly string[]): string | undefined {
  if (known.length === 0) return undefined;
  const near = closest(name, known);
  return distance(name, near) <= Math.max(2, Math.floor(name.length / 4)) ? near : undefined;
}
