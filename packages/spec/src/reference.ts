import { OcidError } from "@ocid/base";
import { type Digest, parseDigest } from "./digest.ts";

/** Names an image in a registry, in full: what people shorten is spelt out. */
export interface Reference {
  /** Host with its port, `docker.io` for Docker's own. */
  readonly registry: string;
  /** Path within the registry: `library/busybox`. */
  readonly repository: string;
  readonly tag?: string;
  readonly digest?: Digest;
}

const registryPattern =
  /^(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)*|\[[0-9a-fA-F:]+\])(?::[0-9]{1,5})?$/;
const component = /^[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*$/;
const tagPattern = /^\w[\w.-]{0,127}$/;
const maxNameLength = 255;

/**
 * Reads a reference as Docker does: no registry means `docker.io`, a single name there lies in `library/`, and where
 * neither tag nor digest is given the tag is `latest`. Fails with INVALID_ARGUMENT (distribution/reference grammar).
 */
export function parseReference(text: string): Reference {
  const { name, tag, digest } = splitReference(text);
  const reference = {
    ...splitName(name, text),
    ...(tag === undefined ? {} : { tag }),
    ...(digest === undefined ? {} : { digest }),
  };
  return tag === undefined && digest === undefined ? { ...reference, tag: "latest" } : reference;
}

/** Whether a reference names no registry, so that search registries and aliases decide (registries.conf, short names). */
export function isShortName(text: string): boolean {
  const slash = text.indexOf("/");
  return slash === -1 || !isRegistry(text.slice(0, slash));
}

/** Whether a value from outside is a tag. */
export function isTag(value: unknown): value is string {
  return typeof value === "string" && tagPattern.test(value);
}

/** `registry/repository[:tag][@digest]`. */
export function formatReference(reference: Reference): string {
  const tag = reference.tag === undefined ? "" : `:${reference.tag}`;
  const digest = reference.digest === undefined ? "" : `@${reference.digest}`;
  return `${referenceName(reference)}${tag}${digest}`;
}

/** `registry/repository`. */
export function referenceName(reference: Reference): string {
  return `${reference.registry}/${reference.repository}`;
}

function splitReference(text: string): { name: string; tag?: string; digest?: Digest } {
  if (text.length > 1024) throw invalid(text, "it is too long");
  const at = text.indexOf("@");
  const digest = at === -1 ? undefined : parseReferenceDigest(text, text.slice(at + 1));
  const rest = at === -1 ? text : text.slice(0, at);
  const colon = rest.lastIndexOf(":");
  if (colon <= rest.lastIndexOf("/")) return { name: rest, ...(digest ? { digest } : {}) };
  const tag = rest.slice(colon + 1);
  if (!tagPattern.test(tag)) throw invalid(text, `${JSON.stringify(tag.slice(0, 140))} is not a tag`);
  return { name: rest.slice(0, colon), tag, ...(digest ? { digest } : {}) };
}

function parseReferenceDigest(text: string, digest: string): Digest {
  try {
    return parseDigest(digest);
  } catch (error) {
    throw invalid(text, (error as Error).message);
  }
}

function splitName(name: string, text: string): { registry: string; repository: string } {
  if (name === "") throw invalid(text, "it has no name");
  if (/^[0-9a-f]{64}$/.test(name)) throw invalid(text, "64 hex characters are an image id, not a name");
  const slash = name.indexOf("/");
  const first = name.slice(0, slash);
  const hasRegistry = slash !== -1 && isRegistry(first);
  const registry = hasRegistry ? (first === "index.docker.io" ? "docker.io" : first) : "docker.io";
  const path = hasRegistry ? name.slice(slash + 1) : name;
  if (!registryPattern.test(registry))
    throw invalid(text, `${JSON.stringify(registry.slice(0, 100))} is not a registry`);
  const repository = registry === "docker.io" && !path.includes("/") ? `library/${path}` : path;
  if (!repository.split("/").every(part => component.test(part))) {
    throw invalid(
      text,
      /[A-Z]/.test(repository)
        ? "repository names are lower case"
        : `${JSON.stringify(repository.slice(0, 100))} is not a repository name`,
    );
  }
  if (registry.length + 1 + repository.length > maxNameLength)
    throw invalid(text, `names have at most ${maxNameLength} characters`);
  return { registry, repository };
}

function isRegistry(first: string): boolean {
  return first.includes(".") || first.includes(":") || first === "localhost" || first !== first.toLowerCase();
}

function invalid(text: string, why: string): OcidError {
  return new OcidError(
    "INVALID_ARGUMENT",
    `not an image reference: ${JSON.stringify(text.slice(0, 200))}: ${why}`,
  );
}
