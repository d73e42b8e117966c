import type { Digest } from "./digest.ts";
import { parseDigest } from "./digest.ts";
import { Fields } from "./parse-json.ts";
import { type Platform, parsePlatformObject } from "./platform.ts";

/** Points at content: what it is, its digest and its size in bytes (image-spec, descriptor.md). */
export interface Descriptor {
  readonly mediaType: string;
  readonly digest: Digest;
  readonly size: number;
  readonly urls?: readonly string[];
  readonly annotations?: Readonly<Record<string, string>>;
  readonly platform?: Platform;
  readonly artifactType?: string;
  readonly data?: string;
}

/** Checks a descriptor from outside; `what` names it in errors. */
export function parseDescriptor(value: unknown, what: string): Descriptor {
  const fields = new Fields(value, what);
  const platform = fields.raw("platform");
  return omitUndefined({
    mediaType: fields.string("mediaType"),
    digest: parseDigest(fields.raw("digest")),
    size: fields.size("size"),
    urls: fields.strings("urls"),
    annotations: fields.stringMap("annotations"),
    platform:
      platform === undefined || platform === null
        ? undefined
        : parsePlatformObject(platform, `${what}: platform`),
    artifactType: fields.optionalString("artifactType"),
    data: fields.optionalString("data"),
  });
}

type Present<T> = { [K in keyof T as undefined extends T[K] ? never : K]: T[K] } & {
  [K in keyof T as undefined extends T[K] ? K : never]?: Exclude<T[K], undefined>;
};

/** The object without the keys whose value is undefined, so that it serialises as it was read. */
export function omitUndefined<T extends object>(object: T): Present<T> {
  return Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined)) as Present<T>;
}
