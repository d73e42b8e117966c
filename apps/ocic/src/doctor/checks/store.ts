import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { messageOf, OcidError } from "@ocid/base";
import { type Finding, openStore, type Store } from "@ocid/storage";
import type { Diagnosis } from "../finding.ts";
import type { Records } from "../records.ts";
import type { DaemonSettings } from "../settings.ts";

/** The store's records against its directories, and against our own; and what the last check of everything has found. */
export async function storeFindings(
  settings: DaemonSettings,
  readRecords: () => Records,
): Promise<readonly Diagnosis[]> {
  const scrubbed = scrubFindings(settings.stateDir);
  if (!existsSync(join(settings.root, "overlay-layers"))) return scrubbed;
  try {
    await using store = await openStore(settings);
    const found: Diagnosis[] = [];
    for await (const finding of store.check()) found.push(diagnose(settings, finding));
    return [...found, ...(await orphans(settings, store, readRecords)), ...scrubbed];
  } catch (error) {
    if (!(error instanceof OcidError)) throw error;
    const unreadable: Diagnosis = {
      kind: "store",
      severity: "problem",
      what: `the store at ${settings.root} cannot be used: ${messageOf(error)}`,
      why: "no image can be pulled and no container made",
      remedy: "docs/operate/storage.md says what to do about damaged records",
    };
    return [unreadable, ...scrubbed];
  }
}

/** Opened again for the fix: whoever only looks holds nothing. */
async function mend(settings: DaemonSettings, work: (store: Store) => Promise<unknown>): Promise<void> {
  await using store = await openStore(settings);
  await work(store);
}

function diagnose(settings: DaemonSettings, { kind, message, remedy }: Finding): Diagnosis {
  const common = {
    kind: `store-${kind}`,
    severity: "problem",
    what: message,
    why: "images or containers that need it do not start, or it takes space for nothing",
  } as const;
  switch (remedy) {
    case "rebuild":
      return {
        ...common,
        remedy: "ocic storage repair --no-fetch",
        fix: () => mend(settings, store => store.rebuildLinks()),
      };
    case "collect":
      return {
        ...common,
        remedy: "ocic storage gc",
        fix: () => mend(settings, store => store.collectGarbage()),
      };
    case "fetch":
      return { ...common, remedy: "ocic storage repair (fetches it again from its registry)" };
  }
}

/** Containers of the store that are marked as ours, and that no record of ours knows. Those of Podman are not marked. */
async function orphans(
  settings: DaemonSettings,
  store: Store,
  readRecords: () => Records,
): Promise<readonly Diagnosis[]> {
  const mark = JSON.stringify({ ocid: { stateDir: settings.stateDir } });
  const ours = (await store.listContainers()).filter(({ metadata }) => metadata === mark);
  const { containers, damaged, setAside } = readRecords();
  if (damaged.length > 0) return [];
  const kept = new Set(setAside.map(({ id }) => id));
  return ours
    .filter(({ id }) => !containers.has(id) && !kept.has(id))
    .map(({ id }) => ({
      kind: "store-container",
      severity: "problem",
      what: `the store has a container ${id.slice(0, 12)} of ours that no record knows`,
      why: "its writable layer takes space, and its image cannot be removed",
      remedy: "start the daemon, which removes it",
      fix: () => mend(settings, other => other.removeContainer(id)),
    }));
}

function scrubFindings(stateDir: string): readonly Diagnosis[] {
  const { finishedAt, findings } = readScrub(join(stateDir, "scrub.json"));
  return findings.map(message => ({
    kind: "scrub",
    severity: "problem",
    what: `${message} (found ${finishedAt})`,
    why: "what is damaged on the disk is read by containers as it is",
    remedy: "ocic storage repair --deep",
  }));
}

function readScrub(path: string): { readonly finishedAt: string; readonly findings: readonly string[] } {
  try {
    const { finishedAt, findings } = JSON.parse(readFileSync(path, "utf8"));
    return {
      finishedAt: String(finishedAt),
      findings: (Array.isArray(findings) ? findings : []).map(({ message }) => String(message)),
    };
  } catch {
    return { finishedAt: "", findings: [] };
  }
}
