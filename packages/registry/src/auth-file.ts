import { existsSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { OcidError, wrapError } from "@ocid/base";
import { isObject, parseJsonObject } from "@ocid/spec";
import type { Credential } from "./credentials.ts";

export type Environment = Readonly<Record<string, string | undefined>>;

/** An auth.json (containers-auth.json(5)), Docker's config.json, or its old .dockercfg, as it was read. */
export interface AuthFile {
  readonly document: Readonly<Record<string, unknown>>;
  readonly auths: Readonly<Record<string, unknown>>;
  readonly helpers: Readonly<Record<string, unknown>>;
  /** Docker's helper for all registries that have no other; asked only for those whose entry is empty. */
  readonly store: string | undefined;
}

const maxFileBytes = 1024 * 1024;

/** Where credentials are kept by login: `REGISTRY_AUTH_FILE`, else the first of the usual places. */
export function mainAuthFile(env: Environment): string {
  return env["REGISTRY_AUTH_FILE"] || usualAuthFiles(env)[0]!;
}

/** In the order in which they are searched. The directory that a reboot clears exists on Linux only. */
export function usualAuthFiles(env: Environment): readonly string[] {
  const home = env["HOME"] || homedir();
  const runtime = env["XDG_RUNTIME_DIR"];
  const cleared = runtime
    ? [join(runtime, "containers/auth.json")]
    : process.platform === "linux"
      ? [`/run/containers/${process.getuid?.() ?? 0}/auth.json`]
      : [];
  return [
    ...cleared,
    join(env["XDG_CONFIG_HOME"] || join(home, ".config"), "containers/auth.json"),
    join(env["DOCKER_CONFIG"] || join(home, ".docker"), "config.json"),
    join(home, ".dockercfg"),
  ];
}

/** Undefined when there is no such file. INVALID_ARGUMENT names a file that cannot be understood. */
export function readAuthFile(path: string): AuthFile | undefined {
  if (!existsSync(path)) return undefined;
  let document: Record<string, unknown>;
  try {
    const bytes = readFileSync(path);
    document =
      bytes.byteLength === 0 ? {} : parseJsonObject(bytes, `authentication file ${path}`, maxFileBytes);
  } catch (error) {
    throw wrapError(`read ${path}`, error);
  }
  const isLegacy = path.endsWith(".dockercfg");
  const part = (key: string) => (isObject(document[key]) ? document[key] : {});
  const { credsStore } = document;
  return {
    document,
    auths: isLegacy ? document : part("auths"),
    helpers: isLegacy ? {} : part("credHelpers"),
    store: !isLegacy && typeof credsStore === "string" && credsStore !== "" ? credsStore : undefined,
  };
}

/** The entry for a name, `registry/path`: the most exact key, then keys as Docker wrote them. Empty ones do not count. */
export function findEntry(file: AuthFile, name: string): Credential | undefined {
  for (const key of keysFor(name)) {
    const found = Object.hasOwn(file.auths, key) ? parseEntry(file.auths[key]) : undefined;
    if (found) return found;
  }
  for (const key of keysOfRegistry(file.auths, name.split("/")[0]!)) {
    const found = parseEntry(file.auths[key]);
    if (found) return found;
  }
  return undefined;
}

/** Keys of a file that stand for a registry as a whole. */
export function keysOfRegistry(
  auths: Readonly<Record<string, unknown>>,
  registry: string,
): readonly string[] {
  return Object.keys(auths).filter(
    key => key === registry || (!isPath(key) && normaliseKey(key) === normaliseKey(registry)),
  );
}

/** A key with a path counts for that path only, but for URLs as Docker wrote them: `https://index.docker.io/v1/`. */
function isPath(key: string): boolean {
  return !/^https?:\/\//.test(key) && key.includes("/");
}

/** `host/a/b`, `host/a`, `host`: the most exact first. */
function keysFor(name: string): readonly string[] {
  const parts = name.split("/");
  return parts.map((_, at) => parts.slice(0, parts.length - at).join("/"));
}

function normaliseKey(key: string): string {
  const host = key.replace(/^https?:\/\//, "").split("/")[0]!;
  return host === "docker.io" || host === "registry-1.docker.io" ? "index.docker.io" : host;
}

function parseEntry(entry: unknown): Credential | undefined {
  if (!isObject(entry)) return undefined;
  const text = (key: string) =>
    typeof entry[key] === "string" && entry[key] !== "" ? (entry[key] as string) : undefined;
  const identity = text("identitytoken");
  if (identity !== undefined) return { kind: "identityToken", token: identity };
  const token = text("registrytoken");
  if (token !== undefined) return { kind: "registryToken", token };
  const auth = text("auth");
  if (auth === undefined) return undefined;
  const pair = Buffer.from(auth, "base64").toString("utf8").replace(/\0+$/, "");
  const colon = pair.indexOf(":");
  return colon < 0
    ? undefined
    : { kind: "basic", username: pair.slice(0, colon), password: pair.slice(colon + 1) };
}

export function formatEntry(credential: Credential): Record<string, string> {
  switch (credential.kind) {
    case "identityToken":
      return { identitytoken: credential.token };
    case "registryToken":
      return { registrytoken: credential.token };
    case "basic": {
      if (credential.username.includes(":"))
        throw new OcidError("INVALID_ARGUMENT", "a user name cannot have a colon in it");
      const pair = `${credential.username}:${credential.password}`;
      return { auth: Buffer.from(pair).toString("base64") };
    }
  }
}
