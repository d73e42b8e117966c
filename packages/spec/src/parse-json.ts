import { OcidError } from "@ocid/base";

/** Manifests and configs may be this long (distribution-spec, "Pushing Manifests", names 4 MiB as what registries accept). */
export const maxManifestBytes: number = 4 * 1024 * 1024;

const maxDepth = 64;
const utf8 = new TextDecoder("utf-8", { fatal: true });

/** Parses a JSON object from outside: capped in size and depth, UTF-8 only, no key twice. `what` names it in errors (INVALID_ARGUMENT). */
export function parseJsonObject(
  bytes: Uint8Array,
  what: string,
  capBytes: number = maxManifestBytes,
): Record<string, unknown> {
  if (bytes.byteLength > capBytes) {
    throw new OcidError(
      "RESOURCE_EXHAUSTED",
      `${what} has ${bytes.byteLength} bytes, more than the limit of ${capBytes}`,
    );
  }
  let value: unknown;
  try {
    const text = utf8.decode(bytes);
    checkStructure(text, what);
    value = JSON.parse(text);
  } catch (error) {
    if (error instanceof OcidError) throw error;
    const start = JSON.stringify(Buffer.from(bytes.subarray(0, 40)).toString("latin1"));
    throw new OcidError("INVALID_ARGUMENT", `${what} is not JSON (it begins with ${start})`, {
      cause: error,
    });
  }
  if (!isObject(value)) throw new OcidError("INVALID_ARGUMENT", `${what} is not a JSON object`);
  return value;
}

/** JSON.parse takes the last of two equal keys, other parsers the first: what they mean must not be a matter of the parser. */
function checkStructure(text: string, what: string): void {
  const open: (Set<string> | undefined)[] = [];
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === 0x22) {
      const end = endOfString(text, at);
      if (open.at(-1) && isKey(text, end)) noteKey(open.at(-1)!, JSON.parse(text.slice(at, end)), what);
      at = end - 1;
    } else if (code === 0x7b || code === 0x5b) {
      if (open.length === maxDepth)
        throw new OcidError("INVALID_ARGUMENT", `${what} is nested deeper than ${maxDepth} levels`);
      open.push(code === 0x7b ? new Set() : undefined);
    } else if (code === 0x7d || code === 0x5d) open.pop();
  }
}

function endOfString(text: string, start: number): number {
  let at = start + 1;
  while (at < text.length && text.charCodeAt(at) !== 0x22) at += text.charCodeAt(at) === 0x5c ? 2 : 1;
  return at + 1;
}

function isKey(text: string, from: number): boolean {
  let at = from;
  while (" \t\r\n".includes(text[at] ?? "x")) at++;
  return text[at] === ":";
}

function noteKey(keys: Set<string>, key: string, what: string): void {
  if (keys.has(key))
    throw new OcidError(
      "INVALID_ARGUMENT",
      `${what} has the key ${JSON.stringify(key.slice(0, 100))} twice in one object`,
      { reason: "DuplicateKey" },
    );
  keys.add(key);
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Readers for fields of a parsed object; each names the field when it is not what it should be. */
export class Fields {
  readonly #object: Readonly<Record<string, unknown>>;
  readonly #what: string;

  constructor(object: unknown, what: string) {
    if (!isObject(object)) throw new OcidError("INVALID_ARGUMENT", `${what} is not an object`);
    this.#object = object;
    this.#what = what;
  }

  raw(key: string): unknown {
    return Object.hasOwn(this.#object, key) ? this.#object[key] : undefined;
  }

  string(key: string): string {
    return this.optionalString(key) ?? this.#wrong(key, "a string");
  }

  optionalString(key: string): string | undefined {
    const value = this.raw(key);
    if (value === undefined || value === null) return undefined;
    return typeof value === "string" ? value : this.#wrong(key, "a string");
  }

  size(key: string): number {
    const value = this.raw(key);
    return Number.isSafeInteger(value) && (value as number) >= 0
      ? (value as number)
      : this.#wrong(key, "a size in bytes");
  }

  strings(key: string): readonly string[] | undefined {
    const value = this.raw(key);
    if (value === undefined || value === null) return undefined;
    if (Array.isArray(value) && value.every(item => typeof item === "string")) return value;
    return this.#wrong(key, "a list of strings");
  }

  stringMap(key: string): Readonly<Record<string, string>> | undefined {
    const value = this.raw(key);
    if (value === undefined || value === null) return undefined;
    if (isObject(value) && Object.values(value).every(item => typeof item === "string"))
      return value as Record<string, string>;
    return this.#wrong(key, "an object of strings");
  }

  list(key: string, maxItems = 10_000): readonly unknown[] {
    const value = this.raw(key);
    if (!Array.isArray(value)) return this.#wrong(key, "a list");
    if (value.length > maxItems)
      throw new OcidError(
        "RESOURCE_EXHAUSTED",
        `${this.#what}: ${key} has ${value.length} items, more than ${maxItems}`,
      );
    return value;
  }

  #wrong(key: string, wanted: string): never {
    const value = JSON.stringify(this.raw(key))?.slice(0, 80) ?? "nothing";
    throw new OcidError("INVALID_ARGUMENT", `${this.#what}: ${key} should be ${wanted}, found ${value}`);
  }
}
