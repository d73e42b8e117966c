import { OcidError } from "@ocid/base";
import type { Fields } from "@ocid/spec";
import { readSmallFile } from "../small-file.ts";

/** Where a rule has its public keys. */
export interface KeySource {
  readonly paths: readonly string[];
  /** Content, decoded. */
  readonly data: readonly Uint8Array[];
}

/** Reads the one of `<name>Path`, `<name>Paths`, `<name>Data`, `<name>Datas` that a rule has; undefined for none. */
export function parseKeySource(fields: Fields, name: string, what: string): KeySource | undefined {
  const [path, paths, data, datas] = ["Path", "Paths", "Data", "Datas"].map(kind => `${name}${kind}`) as [
    string,
    string,
    string,
    string,
  ];
  const present = [path, paths, data, datas].filter(key => fields.raw(key) !== undefined);
  if (present.length === 0) return undefined;
  if (present.length > 1)
    throw new OcidError(
      "INVALID_ARGUMENT",
      `${what} has both ${present.join(" and ")}; only one may be there`,
    );
  const one = (key: string) => (fields.raw(key) === undefined ? [] : [fields.string(key)]);
  const source = {
    paths: [...one(path), ...(fields.strings(paths) ?? [])],
    data: [...one(data), ...(fields.strings(datas) ?? [])].map(text => Buffer.from(text, "base64")),
  };
  if (source.paths.length + source.data.length === 0)
    throw new OcidError("INVALID_ARGUMENT", `${what}: ${present[0]} is empty`);
  return source;
}

export async function readKeys({ paths, data }: KeySource): Promise<readonly Uint8Array[]> {
  return [...(await Promise.all(paths.map(path => readSmallFile(path, `key ${path}`)))), ...data];
}
