import { readdir } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { OcidError } from "@ocid/base";
import { Fields, isObject } from "@ocid/spec";
import type { PolicyIdentity } from "../image-source.ts";
import { refuseUnknownKeys } from "../refuse-unknown-keys.ts";
import { readSmallFile } from "../small-file.ts";

/** Where signatures of images in registries lie (containers-registries.d(5)). */
export interface SignatureStores {
  /** Base URL of the lookaside server or directory; undefined for none. */
  lookasideOf(identity: PolicyIdentity): string | undefined;
  /** Whether signatures that cosign attaches to images are read; undefined where no file says so. */
  usesAttachments(identity: PolicyIdentity): boolean | undefined;
}

interface Section {
  readonly lookaside: string | undefined;
  readonly attachments: boolean | undefined;
}

/** What holds where no file says anything: signatures in a directory of the machine. */
export const defaultSignatureStores: SignatureStores = storesOf(new Map());

/** Reads registries.d: the given directory, or the user's, or /etc/containers/registries.d. */
export async function loadSignatureStores(directory?: string): Promise<SignatureStores> {
  const candidates =
    directory === undefined
      ? [join(homedir(), ".config/containers/registries.d"), "/etc/containers/registries.d"]
      : [directory];
  for (const candidate of candidates) {
    const names = await readdir(candidate).catch(() => undefined);
    if (names === undefined) continue;
    const sections = new Map<string, Section>();
    for (const name of names.filter(other => other.endsWith(".yaml")).sort()) {
      const path = join(candidate, name);
      for (const [scope, section] of await parseSignatureStores(await readSmallFile(path, path), path)) {
        if (sections.has(scope))
          throw new OcidError(
            "INVALID_ARGUMENT",
            `${path}: ${scope || "default-docker"} is defined in another file too`,
          );
        sections.set(scope, section);
      }
    }
    return storesOf(sections);
  }
  return defaultSignatureStores;
}

async function parseSignatureStores(bytes: Uint8Array, what: string): Promise<ReadonlyMap<string, Section>> {
  const { parse } = await import("yaml");
  let document: unknown;
  try {
    document = parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes), { maxAliasCount: 0 }) ?? {};
  } catch (error) {
    throw new OcidError("INVALID_ARGUMENT", `${what} is not YAML: ${(error as Error).message}`, {
      cause: error,
    });
  }
  if (!isObject(document)) throw new OcidError("INVALID_ARGUMENT", `${what} is not an object`);
  refuseUnknownKeys(document, ["default-docker", "docker"], what);
  const sections = new Map<string, Section>();
  if (document["default-docker"])
    sections.set("", parseSection(document["default-docker"], `${what}: default-docker`));
  const docker = document["docker"] ?? {};
  if (!isObject(docker)) throw new OcidError("INVALID_ARGUMENT", `${what}: docker should be an object`);
  for (const [scope, section] of Object.entries(docker))
    sections.set(scope, parseSection(section, `${what}: ${scope}`));
  return sections;
}

function parseSection(value: unknown, what: string): Section {
  const fields = new Fields(value, what);
  const attachments = fields.raw("use-sigstore-attachments") ?? undefined;
  if (attachments !== undefined && typeof attachments !== "boolean")
    throw new OcidError("INVALID_ARGUMENT", `${what}: use-sigstore-attachments should be true or false`);
  return { lookaside: fields.optionalString("lookaside") ?? fields.optionalString("sigstore"), attachments };
}

/** Each value comes from the most specific scope that has it. */
function storesOf(sections: ReadonlyMap<string, Section>): SignatureStores {
  const find = <K extends keyof Section>({ scopes }: PolicyIdentity, key: K): Section[K] | undefined => {
    for (const scope of [...scopes, ""]) {
      const value = sections.get(scope)?.[key];
      if (value !== undefined) return value;
    }
    return undefined;
  };
  return {
    lookasideOf: identity => find(identity, "lookaside") ?? defaultLookaside(),
    usesAttachments: identity => find(identity, "attachments"),
  };
}

function defaultLookaside(): string {
  return process.getuid?.() === 0
    ? "file:///var/lib/containers/sigstore"
    : `file://${homedir()}/.local/share/containers/sigstore`;
}
