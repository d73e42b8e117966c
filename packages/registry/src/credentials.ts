import { OcidError } from "@ocid/base";
import { type Environment, findEntry, keysOfRegistry, readAuthFile, usualAuthFiles } from "./auth-file.ts";
import { askHelper } from "./credential-helper.ts";

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
  /** `credential-helpers` of registries.conf, in their order; `containers-auth.json` stands for the files. Default: that alone. */
  readonly helpers?: readonly string[] | undefined;
  readonly env?: Environment;
}

/**
 * Credentials from the files that containers tools and Docker write (containers-auth.json(5)): the one that is asked
 * for, `REGISTRY_AUTH_FILE`, or the usual ones in their order. Files are read at each look, so a new login counts at once.
 */
export function authFileCredentials(options: AuthFileOptions = {}): CredentialSource {
  const { env = process.env, helpers = [filesAsHelper] } = options;
  const asked = options.authFile ?? (env["REGISTRY_AUTH_FILE"] || undefined);
  const files = asked === undefined ? usualAuthFiles(env) : [asked];
  return {
    async find(name) {
      for (const helper of helpers) {
        const found =
          helper === filesAsHelper
            ? await findInFiles(files, name, options.authFile)
            : await askHelper(helper, name.split("/")[0]!);
        if (found) return found;
      }
      return undefined;
    },
  };
}

/** The name by which registries.conf counts the files among the helpers. */
export const filesAsHelper = "containers-auth.json";

async function findInFiles(
  files: readonly string[],
  name: string,
  required: string | undefined,
): Promise<Credential | undefined> {
  for (const path of files) {
    const found = await findInFile(path, name, path === required);
    if (found) return found;
  }
  return undefined;
}

async function findInFile(path: string, name: string, isRequired: boolean): Promise<Credential | undefined> {
  const file = readAuthFile(path);
  if (!file) {
    if (!isRequired) return undefined;
    throw new OcidError("NOT_FOUND", `authentication file ${path} does not exist; log in first`);
  }
  const registry = name.split("/")[0]!;
  const helper = Object.hasOwn(file.helpers, registry) ? file.helpers[registry] : undefined;
  if (typeof helper === "string") return await askHelper(helper, registry);
  const entry = findEntry(file, name);
  if (entry || file.store === undefined) return entry;
  // Docker leaves an empty entry for what its store keeps.
  const [key] = keysOfRegistry(file.auths, registry);
  return key === undefined ? undefined : await askHelper(file.store, key);
}
