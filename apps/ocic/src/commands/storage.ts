import type { Finding, Store } from "@ocid/storage";
import type { Command } from "commander";
import { ExitWith } from "../exit-code.ts";
import { type GlobalOptions, openLocalStore } from "../global-options.ts";
import { print, printRows } from "../output/output.ts";
import { formatBytes, shortId } from "../output/units.ts";

/** Care of the store: check, repair, df, gc. */
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
      await report(store, options, flags.deep ?? false);
    });
  storage
    .command("repair")
    .description(
      "mend what can be mended from what is here, then check; what has to be fetched again is named (pull the image again)",
    )
    .option("--deep", "read every file of every layer")
    .action(async (flags: { deep?: boolean }, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions>();
      await using store = await openLocalStore(options);
      for (const layer of await store.rebuildLinks()) print(`mended the links of layer ${shortId(layer)}\n`);
      await store.collectGarbage();
      await report(store, options, flags.deep ?? false);
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

async function report(store: Store, options: GlobalOptions, deep: boolean): Promise<void> {
  const findings: Finding[] = [];
  for await (const finding of store.check({ deep })) findings.push(finding);
  const rows = findings.map(finding => [
    finding.kind,
    shortId(finding.layerId ?? finding.imageId ?? finding.containerId ?? ""),
    finding.remedy,
    finding.message,
  ]);
  printRows(options.json ?? false, findings, ["finding", "of", "remedy", "what"], rows);
  if (findings.length > 0) throw new ExitWith(9);
}
