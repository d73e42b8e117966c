import { isOcidError, messageOf, OcidError } from "@ocid/base";
import type { Finding, QuarantineEntry, Store } from "@ocid/storage";
import type { Command } from "commander";
import { ExitWith } from "../exit-code.ts";
import { type GlobalOptions, openLocalStore, registryClient } from "../global-options.ts";
import { print, printError, printRows } from "../output/output.ts";
import { formatAge, formatBytes, shortId } from "../output/units.ts";
import { type Repair, repairImages } from "../repair-images.ts";
import { showPartialBlobs } from "./partial-blobs.ts";

/** Care of the store: check, repair, quarantine, df, partial, gc. */
export function addStorageCommands(program: Command): void {
  const storage = program.command("storage").description("look after the store of images and containers");
  storage
    .command("check")
    .description(
      "look for damage: records without directories, changed files, broken links (exit code 9 when there is any)",
    )
    .option("--deep", "read every file of every layer")
    .action(async (flags: { deep?: boolean }, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions>();
      await using store = await openLocalStore(options);
      report(await findingsOf(store, flags.deep ?? false), options);
    });
  storage
    .command("repair")
    .description(
      "mend what is damaged: links and garbage from what is here, layers and data from the registry that the image came from (only what is bad is fetched); then check",
    )
    .option("--deep", "read every file of every layer")
    .option("--no-fetch", "mend only what can be mended from what is here")
    .option("--quarantine", "move aside what stays damaged even if its registry could not be asked")
    .option("--no-quarantine", "leave what stays damaged where it is, even if its registry has it no longer")
    .action(async (flags: RepairFlags, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions>();
      await using store = await openLocalStore(options);
      await repair(store, flags, options);
      report(await findingsOf(store, flags.deep ?? false), options);
    });
  storage
    .command("quarantine [ID]")
    .description("list what repair has moved out of the store, or put one of it back")
    .option("--restore", "put it back as it was")
    .option("--remove", "delete it for good")
    .action(async (id: string | undefined, flags: QuarantineFlags, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions>();
      await using store = await openLocalStore(options);
      const entries = await quarantined(store, id, flags);
      const rows = entries.map(entry => [
        entry.id,
        entry.names[0] ?? shortId(entry.imageId ?? ""),
        String(entry.layerIds.length),
        formatAge(new Date(entry.quarantinedAt)),
        entry.reason,
      ]);
      printRows(options.json ?? false, entries, ["id", "image", "layers", "since", "why"], rows);
    });
  storage
    .command("df")
    .description("what each image takes, and what removing it would free")
    .action(async (_, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions>();
      await using store = await openLocalStore(options);
      const usage = await store.imageDiskUsage();
      const rows = usage.map(image => [
        image.image.names[0] ?? shortId(image.image.id),
        formatBytes(image.bytes),
        formatBytes(image.freeableBytes),
        String(image.containerIds.length),
      ]);
      printRows(options.json ?? false, usage, ["image", "size", "freed if removed", "containers"], rows);
    });
  storage
    .command("partial [place]")
    .description(
      "what interrupted pulls have left, or copies to oci:DIR or dir:DIR, for the next ones to go on from",
    )
    .option("--clear", "remove what no living process is at")
    .action(async (place: string | undefined, flags: { clear?: boolean }, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions>();
      if (place !== undefined) return await showPartialBlobs(place, flags.clear ?? false, options);
      await using store = await openLocalStore(options);
      const found = store.partialDownloads();
      const cleared = new Set<string>(flags.clear ? store.clearPartialDownloads() : []);
      const shown = found.map(piece => ({ ...piece, cleared: cleared.has(piece.digest) }));
      const rows = shown.map(piece => [
        piece.digest,
        formatBytes(piece.bytes),
        formatAge(new Date(piece.changedMs)),
        piece.cleared ? "removed" : piece.inUse ? "being fetched" : "kept",
      ]);
      printRows(options.json ?? false, shown, ["blob", "size", "changed", "state"], rows);
    });
  storage
    .command("gc")
    .description("remove what nothing needs: leftovers of processes that have died, layers of no image")
    .action(async (_, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions>();
      await using store = await openLocalStore(options);
      const collected = await store.collectGarbage();
      const rows = Object.entries(collected).map(([what, value]) => [
        what,
        Array.isArray(value) ? String(value.length) : String(value),
      ]);
      printRows(options.json ?? false, collected, ["what", "removed"], rows);
    });
}

interface RepairFlags {
  readonly deep?: boolean;
  readonly fetch: boolean;
  /** Undefined: only what the registries answered that they have not. */
  readonly quarantine?: boolean;
}

async function repair(store: Store, flags: RepairFlags, options: GlobalOptions): Promise<void> {
  const say = options.json ? () => {} : print;
  const mended = new Set(await store.rebuildLinks());
  if (flags.fetch) {
    await using client = registryClient(options);
    const repairs = await repairImages(store, client, await findingsOf(store, flags.deep ?? false));
    for (const { fetched, image } of repairs)
      for (const digest of fetched) say(`fetched ${digest} of ${image}\n`);
    for (const { image, failure } of repairs)
      if (failure !== undefined) printError(`ocic: ${image} stays damaged: ${failure}`);
    // What was fetched for a layer without a directory has no links yet.
    for (const layer of await store.rebuildLinks()) mended.add(layer);
    if (flags.quarantine !== false) await quarantineFailed(store, repairs, flags.quarantine ?? false, say);
  }
  await store.collectGarbage();
  for (const layer of mended) say(`mended the links of layer ${shortId(layer)}\n`);
}

/**
 * Moves aside what no registry has any more, or with `all` whatever stays damaged; the rest waits for its registry to
 * come back. An image that something uses stays, and is said to.
 */
async function quarantineFailed(
  store: Store,
  repairs: readonly Repair[],
  all: boolean,
  say: (text: string) => void,
): Promise<void> {
  const waiting = repairs.some(({ failure, gone }) => failure !== undefined && !gone && !all);
  const stray = waiting ? undefined : await store.quarantineUnrecorded("layers whose records were lost");
  if (stray) say(`quarantined ${stray.layerIds.length} layers without records as ${stray.id}\n`);
  for (const { image, imageId, failure, gone } of repairs) {
    if (failure === undefined) continue;
    if (!gone && !all) {
      printError(
        `ocic: ${image} stays where it is until its registry can be asked; repair again then, or move it aside with --quarantine`,
      );
      continue;
    }
    try {
      const { id } = await store.quarantineImage(imageId, failure);
      say(`quarantined ${image} as ${id}; put it back with: ocic storage quarantine --restore ${id}\n`);
    } catch (error) {
      if (!isOcidError(error, "FAILED_PRECONDITION")) throw error;
      printError(`ocic: ${image} stays where it is: ${messageOf(error)}`);
    }
  }
}

interface QuarantineFlags {
  readonly restore?: boolean;
  readonly remove?: boolean;
}

async function quarantined(
  store: Store,
  id: string | undefined,
  { restore, remove }: QuarantineFlags,
): Promise<readonly QuarantineEntry[]> {
  if (restore && remove) throw new OcidError("INVALID_ARGUMENT", "--restore and --remove exclude each other");
  if (!restore && !remove) return store.listQuarantine().filter(entry => id === undefined || entry.id === id);
  if (id === undefined)
    throw new OcidError("INVALID_ARGUMENT", "say which: ocic storage quarantine --restore ID");
  return [restore ? await store.restoreQuarantined(id) : await store.removeQuarantined(id)];
}

async function findingsOf(store: Store, deep: boolean): Promise<readonly Finding[]> {
  const findings: Finding[] = [];
  for await (const finding of store.check({ deep })) findings.push(finding);
  return findings;
}

function report(findings: readonly Finding[], options: GlobalOptions): void {
  const rows = findings.map(finding => [
    finding.kind,
    shortId(finding.layerId ?? finding.imageId ?? finding.containerId ?? ""),
    finding.remedy,
    finding.message,
  ]);
  printRows(options.json ?? false, findings, ["finding", "of", "remedy", "what"], rows);
  if (findings.length > 0) throw new ExitWith(9);
}
