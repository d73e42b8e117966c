import { spawn } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { OcidError, wrapError } from "@ocid/base";
import { isObject, parseJsonObject } from "@ocid/spec";

/** How to identify oneself to a registry. */
export type Credential =
  | { readonly kind: "basic"; readonly username: string; readonly password: string }
  /** An OAuth2 refresh token, exchanged for access tokens. */
  | { readonly kind: "identityToken"; readonly token: string }
  /** Sent as a bearer token as it is. */
  | { readonly kind: "registryToken"; readonly token: string };

export interface CredentialSource {
  /** The credential for a repository (`registry/path`), or undefined to come without one. */
  find(name: string): Promise<Credential | undefined>;
}

export const anonymous: CredentialSource = { find: async () => undefined };

/** One credential for one registry, or for any when `registry` is undefined. */
export function fixedCredential(credential: Credential, registry?: string): CredentialSource {
  return {
    find: async name => (registry === undefined || name.split("/")[0] === registry ? credential : undefined),
  };
}

/** Reads `user:password` as given on a command line. */
export function parseCredentialPair(text: string): Credential {
  const colon = text.indexOf(":");
  if (colon < 1) throw new OcidError("INVALID_ARGUMENT", "credentials should be user:password");
  return { kind: "basic", username: text.slice(0, colon), password: text.slice(colon + 1) };
}

export interface AuthFileOptions {
  /** The only file to read (`--authfile`); it must exist. */
  readonly authFile?: string | undefined;
  readonly env?: Readonly<Record<string, string | undefined>>;
}

/**
 * Credentials from the files that containers tools and Docker write (containers-auth.json(5)): the one that is asked
 * for, `REGISTRY_AUTH_FILE`, or the usual ones in their order. Files are read at each look, so a new login counts at once.
 */
export function authFileCredentials(options: AuthFileOptions = {}): CredentialSource {
  const env = options.env ?? process.env;
  const asked = options.authFile ?? (env["REGISTRY_AUTH_FILE"] || undefined);
  return {
    async find(name) {
      for (const path of asked === undefined ? usualFiles(env) : [asked]) {
        if (!existsSync(path)) {
          if (options.authFile !== undefined)
            throw new OcidError("NOT_FOUND", `authentication file ${path} does not exist; log in first`);
          continue;
        }
        const found = await findInFile(path, name);
        if (found) return found;
      }
      return undefined;
    },
  };
}

function usualFiles(env: Readonly<Record<string, string | undefined>>): readonly string[] {
  const home = env["HOME"] || homedir();
  const runtime = env["XDG_RUNTIME_DIR"];
  return [
    runtime ? join(runtime, "containers/auth.json") : `/run/containers/${process.getuid?.() ?? 0}/auth.json`,
    join(env["XDG_CONFIG_HOME"] || join(home, ".config"), "containers/auth.json"),
    join(env["DOCKER_CONFIG"] || join(home, ".docker"), "config.json"),
  ];
}

const maxFileBytes = 1024 * 1024;

async function findInFile(path: string, name: string): Promise<Credential | undefined> {
  let file: Record<string, unknown>;
  try {
    file = parseJsonObject(readFileSync(path), `authentication file ${path}`, maxFileBytes);
  } catch (error) {
    throw wrapError(`read ${path}`, error);
  }
  const registry = name.split("/")[0]!;
  const helpers = isObject(file["credHelpers"]) ? file["credHelpers"] : {};
  const helper = helpers[registry];
  if (typeof helper === "string") return await askHelper(helper, registry);
  const auths = isObject(file["auths"]) ? file["auths"] : {};
  for (const key of keysFor(name)) {
    const found = Object.hasOwn(auths, key) ? parseEntry(auths[key]) : undefined;
    if (found) return found;
  }
  const legacy = Object.entries(auths).find(([key]) => normalise(key) === normalise(registry));
  return legacy && parseEntry(legacy[1]);
}

/** `host/a/b`, `host/a`, `host`: the most exact first. */
function keysFor(name: string): readonly string[] {
  const parts = name.split("/");
  return parts.map((_, at) => parts.slice(0, parts.length - at).join("/"));
}

function normalise(key: string): string {
  const host = key.replace(/^https?:\/\//, "").split("/")[0]!;
  return host === "docker.io" || host === "registry-1.docker.io" ? "index.docker.io" : host;
}

function parseEntry(entry: unknown): Credential | undefined {
  if (!isObject(entry)) return undefined;
  if (typeof entry["identitytoken"] === "string" && entry["identitytoken"] !== "")
    return { kind: "identityToken", token: entry["identitytoken"] };
  if (typeof entry["auth"] !== "string" || entry["auth"] === "") return undefined;
  const pair = Buffer.from(entry["auth"], "base64").toString("utf8").replace(/\0+$/, "");
  const colon = pair.indexOf(":");
  return colon < 0
    ? undefined
    : { kind: "basic", username: pair.slice(0, colon), password: pair.slice(colon + 1) };
}

/** Runs `docker-credential-NAME get` (docker-credential-helpers' protocol); the secret passes through pipes only. */
function askHelper(helper: string, registry: string): Promise<Credential | undefined> {
  if (!/^[\w.-]+$/.test(helper))
    throw new OcidError("INVALID_ARGUMENT", `not a credential helper: ${JSON.stringify(helper)}`);
  return new Promise((resolve, reject) => {
    const program = `docker-credential-${helper}`;
    const child = spawn(program, ["get"], { stdio: ["pipe", "pipe", "ignore"], timeout: 30_000 });
    let output = "";
    child.stdout.on("data", chunk => {
      output = (output + chunk).slice(0, maxFileBytes);
    });
    child.once("error", error =>
      reject(wrapError(`credential helper ${program}`, error, "FAILED_PRECONDITION")),
    );
    child.once("close", code => {
      if (code !== 0) {
        if (/credentials not found/i.test(output)) resolve(undefined);
        else
          reject(
            new OcidError("UNAUTHENTICATED", `credential helper ${program} failed with exit code ${code}`),
          );
        return;
      }
      const answer = parseJsonObject(Buffer.from(output), `the answer of ${program}`, maxFileBytes);
      const { Username: username, Secret: secret } = answer;
      if (typeof username !== "string" || typeof secret !== "string") resolve(undefined);
      else
        resolve(
          username === "<token>"
            ? { kind: "identityToken", token: secret }
            : { kind: "basic", username, password: secret },
        );
    });
    child.stdin.on("error", () => {});
    child.stdin.end(registry);
  });
}
