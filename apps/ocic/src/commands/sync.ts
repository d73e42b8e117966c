import { readFileSync } from "node:fs";
import { linkSignal, messageOf, OcidError, Semaphore, wrapError } from "@ocid/base";
import { copyImage, createRegistrySource, loadSignatureStores } from "@ocid/image-copy";
import { fixedCredential, type RegistryClient } from "@ocid/registry";
import { formatReference, parseReference } from "@ocid/spec";
import type { Command } from "commander";
import { cancellation } from "../cancellation.ts";
import { ExitWith } from "../exit-code.ts";
import {
  type GlobalOptions,
  imagePolicy,
  openLocalStore,
  platformOf,
  registryClient,
} from "../global-options.ts";
import { printError, printResult } from "../output/output.ts";
import { planSync, refuseCollisions, type SyncItem } from "../sync/plan-sync.ts";
import { parseSyncList, type SyncRegistry } from "../sync/sync-list.ts";
import { openDestination } from "./image-places.ts";

interface SyncFlags {
  readonly all?: boolean;
  readonly scoped?: boolean;
  readonly keepGoing?: boolean;
  readonly dryRun?: boolean;
  readonly jobs: string;
  readonly destTlsVerify?: string;
  readonly destCreds?: string;
}

interface Outcome {
  readonly source: string;
  readonly destination: string;
  readonly result: "copied" | "same" | "failed" | "would copy";
  readonly digest?: string;
  readonly error?: string;
}

/** Mirrors repositories. */
export function addSyncCommand(program: Command): void {
  program
    .command("sync <list> <destination>")
    .description(
      "mirror the images of a YAML list (the form of skopeo-sync(1)) to docker://REGISTRY[/PATH], oci:DIR or dir:DIR",
    )
    .option("-a, --all", "every platform of an index")
    .option(
      "--scoped",
      "keep the registry and path of an image in its new name; otherwise only the last part",
    )
    .option("--keep-going", "go on after an image that fails, and fail at the end")
    .option("--dry-run", "say what would be copied")
    .option("-j, --jobs <count>", "images at once", "3")
    .option("--dest-tls-verify <bool>", "check the destination registry's certificate")
    .option("--dest-creds <user:password>", "credentials for the destination registry")
    .action(async (list: string, destination: string, flags: SyncFlags, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions>();
      const outcomes = await sync(readList(list), destination.replace(/\/+$/, ""), flags, options);
      printResult(options.json ?? false, outcomes, () => summary(outcomes));
      if (outcomes.some(({ result }) => result === "failed")) throw new ExitWith(1);
    });
}

function readList(path: string): readonly SyncRegistry[] {
  try {
    return parseSyncList(readFileSync(path, "utf8"), path);
  } catch (error) {
    throw error instanceof OcidError ? error : wrapError(`read ${path}`, error);
  }
}

async function sync(
  list: readonly SyncRegistry[],
  destination: string,
  flags: SyncFlags,
  options: GlobalOptions,
): Promise<readonly Outcome[]> {
  const jobs = Number(flags.jobs);
  if (!Number.isInteger(jobs) || jobs < 1 || jobs > 64)
    throw new OcidError("INVALID_ARGUMENT", `--jobs should be between 1 and 64, found ${flags.jobs}`);
  if (!/^(docker:\/\/|oci:|dir:)/.test(destination))
    throw new OcidError(
      "INVALID_ARGUMENT",
      `the destination should be docker://…, oci:… or dir:…, found ${destination}`,
    );
  await using stack = new AsyncDisposableStack();
  const to = stack.use(registryClient(options, { tlsVerify: flags.destTlsVerify, creds: flags.destCreds }));
  const planned: { readonly item: SyncItem; readonly from: RegistryClient }[] = [];
  for (const registry of list) {
    const from = stack.use(sourceClient(registry, options));
    const items = await planSync(from, registry, { scoped: flags.scoped ?? false });
    planned.push(...items.map(item => ({ item, from })));
  }
  refuseCollisions(planned.map(({ item }) => item));
  const places = new Semaphore(jobs);
  using stop = linkSignal(cancellation());
  const work = planned.map(async ({ item, from }): Promise<Outcome> => {
    const names = { source: formatReference(item.source), destination: `${destination}/${item.name}` };
    try {
      using _place = await places.acquire(stop.signal);
      stop.signal.throwIfAborted();
      return {
        ...names,
        ...(await syncImage(item, from, to, names.destination, flags, options, stop.signal)),
      };
    } catch (error) {
      if (!flags.keepGoing) {
        const first = !stop.signal.aborted;
        stop.abort(error);
        if (first) throw error;
      }
      if (!stop.signal.aborted) printError(`ocic: ${names.source}: ${messageOf(error)}`);
      return { ...names, result: "failed", error: messageOf(error) };
    }
  });
  const settled = await Promise.allSettled(work);
  const failed = settled.find(result => result.status === "rejected");
  if (failed) throw failed.reason;
  return settled.flatMap(result => (result.status === "fulfilled" ? [result.value] : []));
}

function sourceClient(registry: SyncRegistry, options: GlobalOptions): RegistryClient {
  const { credentials, tlsVerify, certificateDirectory } = registry;
  return registryClient(options, {
    tlsVerify,
    ...(credentials
      ? { credentials: fixedCredential({ kind: "basic", ...credentials }, registry.registry) }
      : {}),
    ...(certificateDirectory === undefined ? {} : { certificateDirectory }),
  });
}

async function syncImage(
  item: SyncItem,
  from: RegistryClient,
  to: RegistryClient,
  destination: string,
  flags: SyncFlags,
  options: GlobalOptions,
  signal: AbortSignal,
): Promise<Pick<Outcome, "result" | "digest">> {
  const { digest } = await from.resolve(item.source, { signal });
  if (destination.startsWith("docker://")) {
    const there = parseReference(destination.slice("docker://".length));
    const found = await to.resolve(there, { signal }).catch(() => undefined);
    if (found?.digest === digest) return { result: "same", digest };
  }
  if (flags.dryRun) return { result: "would copy", digest };
  await using stack = new AsyncDisposableStack();
  const store = () => openLocalStore(options);
  const target = await openDestination(destination, { client: to, store, stack });
  const source = createRegistrySource(from, item.source, await loadSignatureStores());
  const result = await copyImage(source, target, {
    all: flags.all,
    platform: platformOf(options),
    policy: await imagePolicy(options),
    signal,
  });
  return { result: "copied", digest: result.indexDigest ?? result.digest };
}

function summary(outcomes: readonly Outcome[]): string {
  return outcomes
    .map(
      ({ result, source, destination, error }) =>
        `${result}  ${source} -> ${destination}${error ? `: ${error}` : ""}\n`,
    )
    .join("");
}
