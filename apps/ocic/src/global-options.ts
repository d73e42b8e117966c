import { existsSync } from "node:fs";
import { OcidError } from "@ocid/base";
import type { createImageClient, createRuntimeClient } from "@ocid/cri-api";
import { limitMalloc } from "@ocid/host";
import { type ImagePolicy, loadDefaultPolicy, loadPolicy } from "@ocid/image-copy";
import {
  authFileCredentials,
  type CredentialSource,
  createRegistryClient,
  fixedCredential,
  loadRegistriesConf,
  parseCredentialPair,
  type RegistriesConf,
  type RegistryClient,
} from "@ocid/registry";
import { currentPlatform, type Platform, parsePlatform } from "@ocid/spec";
import { loadStorageConf, openStore, type Store } from "@ocid/storage";
import { printError } from "./output/output.ts";
import { version } from "./version.ts";

/** Options that stand before or after any command. */
export interface GlobalOptions {
  readonly root?: string;
  readonly runroot?: string;
  readonly imagestore?: string;
  readonly runtimeEndpoint?: string;
  readonly json?: boolean;
  readonly tlsVerify?: string | boolean;
  readonly creds?: string;
  readonly authfile?: string;
  readonly policy?: string;
  readonly platform?: string;
  readonly overrideOs?: string;
  readonly overrideArch?: string;
  readonly overrideVariant?: string;
}

export const defaultEndpoint = "/run/ocid/ocid.sock";

/** The daemon's socket: the one that is named, or the usual one. */
export function endpointOf(options: GlobalOptions): string {
  return (options.runtimeEndpoint ?? process.env["CONTAINER_RUNTIME_ENDPOINT"] ?? defaultEndpoint).replace(
    /^unix:(\/\/)?/,
    "",
  );
}

/** Whether a command that works either way should go through the daemon: when one is named, or runs and no store is named. */
export function usesDaemon(options: GlobalOptions): boolean {
  if (options.runtimeEndpoint !== undefined) return true;
  return options.root === undefined && existsSync(endpointOf(options));
}

/** Loaded where it is used: most commands need no daemon, and its protocol is a third of the program. */
const loadCri = () => import("@ocid/cri-api");

export async function runtimeClient(options: GlobalOptions): Promise<ReturnType<typeof createRuntimeClient>> {
  return (await loadCri()).createRuntimeClient(endpointOf(options));
}

export async function imageClient(options: GlobalOptions): Promise<ReturnType<typeof createImageClient>> {
  return (await loadCri()).createImageClient(endpointOf(options));
}

export async function openLocalStore(options: GlobalOptions): Promise<Store> {
  // Before threads that unpack begin: each would have an arena of its own, and keep there what it has freed.
  limitMalloc({ arenas: 2, mappedBytes: 128 * 1024 });
  const conf = loadStorageConf();
  return await openStore({
    root: options.root ?? conf.root,
    runRoot: options.runroot ?? conf.runRoot,
    imageStore: options.imagestore ?? conf.imageStore,
    mountOptions: conf.mountOptions,
    additionalStores: conf.additionalStores,
    quota: conf.quota,
    logger: warnings,
  });
}

/** The policy that is named, or the containers tools' own; without any, everything is accepted. */
export async function imagePolicy(options: GlobalOptions): Promise<ImagePolicy> {
  return options.policy === undefined ? await loadDefaultPolicy() : await loadPolicy(options.policy);
}

/** `tlsVerify` and `creds` of the command win over the global ones. */
export function registryClient(
  options: GlobalOptions,
  own: {
    readonly tlsVerify?: string | boolean | undefined;
    readonly creds?: string | undefined;
    /** Instead of any that are kept. */
    readonly credentials?: CredentialSource;
    readonly certificateDirectory?: string | undefined;
  } = {},
): RegistryClient {
  const registriesConf = loadRegistriesConf();
  return createRegistryClient({
    credentials: own.credentials ?? credentialsOf(options, registriesConf, own.creds),
    registriesConf,
    certificateDirectory: own.certificateDirectory,
    tlsVerify: booleanOf(own.tlsVerify ?? options.tlsVerify ?? true, "--tls-verify"),
    userAgent: `ocic/${version}`,
    logger: warnings,
  });
}

function credentialsOf(
  options: GlobalOptions,
  { credentialHelpers }: RegistriesConf,
  own: string | undefined,
): CredentialSource {
  const pair = own ?? options.creds;
  return pair === undefined
    ? authFileCredentials({ authFile: options.authfile, helpers: credentialHelpers })
    : fixedCredential(parseCredentialPair(pair));
}

export function booleanOf(value: string | boolean, flag: string): boolean {
  if (typeof value === "boolean") return value;
  if (value === "true" || value === "false") return value === "true";
  throw new OcidError("INVALID_ARGUMENT", `${flag} should be true or false, found ${JSON.stringify(value)}`);
}

export function platformOf(options: GlobalOptions): Platform {
  const base = options.platform === undefined ? currentPlatform() : parsePlatform(options.platform);
  return {
    ...base,
    ...(options.overrideOs === undefined ? {} : { os: options.overrideOs }),
    ...(options.overrideArch === undefined ? {} : { architecture: options.overrideArch }),
    ...(options.overrideVariant === undefined ? {} : { variant: options.overrideVariant }),
  };
}

/** A command line has no log: what is worth knowing goes to standard error. */
const warnings = {
  debug() {},
  info() {},
  warn: (message: string, fields?: Readonly<Record<string, unknown>>) =>
    printError(
      `ocic: ${message}${
        fields
          ? ` (${Object.entries(fields)
              .map(([key, value]) => `${key}: ${value}`)
              .join(", ")})`
          : ""
      }`,
    ),
  error: (message: string) => printError(`ocic: ${message}`),
  child: () => warnings,
};
