import { mkdir } from "node:fs/promises";
import { dirname } from "node:path";
import { OcidError, wrapError, writeAtomic } from "@ocid/base";
import {
  type AuthFile,
  formatEntry,
  keysOfRegistry,
  mainAuthFile,
  readAuthFile,
  usualAuthFiles,
} from "./auth-file.ts";
import { eraseWithHelper, storeWithHelper } from "./credential-helper.ts";
import type { AuthFileOptions, Credential } from "./credentials.ts";

export interface Login {
  /** Where the credential is kept now: a file, or `docker-credential-…`. */
  readonly keptIn: string;
}

/**
 * Keeps a credential for a registry (`registry[:port]`, or a path in it) where `authFileCredentials` finds it: with the
 * registry's helper where the file names one, else in the file, which only its owner can read (containers-auth.json(5)).
 * Does not ask the registry; see `RegistryClient.ping`.
 */
export async function login(
  name: string,
  credential: Credential,
  options: AuthFileOptions = {},
): Promise<Login> {
  const path = options.authFile ?? mainAuthFile(options.env ?? process.env);
  const file = readAuthFile(path);
  const helper = helperOf(file, name);
  if (helper !== undefined) {
    if (credential.kind === "registryToken")
      throw new OcidError("INVALID_ARGUMENT", `credential helper ${helper} cannot keep a registry token`);
    await storeWithHelper(helper, name, credential);
    return { keptIn: `docker-credential-${helper}` };
  }
  await writeAuths(path, file, { ...file?.auths, [name]: formatEntry(credential) });
  return { keptIn: path };
}

/** Forgets a registry's credential in every file that would be searched, and their helpers; returns where it was. */
export async function logout(name: string, options: AuthFileOptions = {}): Promise<readonly string[]> {
  const env = options.env ?? process.env;
  const asked = options.authFile ?? (env["REGISTRY_AUTH_FILE"] || undefined);
  const removed: string[] = [];
  for (const path of asked === undefined ? usualAuthFiles(env) : [asked]) {
    const file = readAuthFile(path);
    if (!file) continue;
    const helper = helperOf(file, name);
    if (helper !== undefined && (await eraseWithHelper(helper, name)))
      removed.push(`docker-credential-${helper}`);
    const gone = name.includes("/")
      ? [name].filter(key => Object.hasOwn(file.auths, key))
      : keysOfRegistry(file.auths, name);
    if (gone.length === 0) continue;
    if (file.store !== undefined) for (const key of gone) await eraseWithHelper(file.store, key);
    await writeAuths(
      path,
      file,
      Object.fromEntries(Object.entries(file.auths).filter(([key]) => !gone.includes(key))),
    );
    removed.push(path);
  }
  return removed;
}

function helperOf(file: AuthFile | undefined, name: string): string | undefined {
  const helper = file !== undefined && Object.hasOwn(file.helpers, name) ? file.helpers[name] : undefined;
  return typeof helper === "string" ? helper : undefined;
}

async function writeAuths(
  path: string,
  file: AuthFile | undefined,
  auths: Readonly<Record<string, unknown>>,
): Promise<void> {
  const document = path.endsWith(".dockercfg") ? auths : { ...file?.document, auths };
  try {
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    await writeAtomic(path, `${JSON.stringify(document, null, "\t")}\n`);
  } catch (error) {
    throw wrapError(`write ${path}`, error);
  }
}
