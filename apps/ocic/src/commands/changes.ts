import { OcidError } from "@ocid/base";
import { formatReference, parseReference } from "@ocid/spec";
import type { ContainerChange, ContainerRecord, Store } from "@ocid/storage";
import type { Command } from "commander";
import { type GlobalOptions, openLocalStore } from "../global-options.ts";
import { print, printResult } from "../output/output.ts";
import { shortId } from "../output/units.ts";

interface CommitOptions extends GlobalOptions {
  readonly message?: string;
  readonly author?: string;
  readonly timestamp?: string;
}

const letters = { added: "A", changed: "C", removed: "D" } as const;

/** What containers have changed: changes, commit. */
export function addChangesCommands(program: Command): void {
  program
    .command("changes <container>")
    .description("paths that a container has added (A), changed (C) and removed (D)")
    .action(async (reference: string, _, command: Command) =>
      showContainerChanges(reference, command.optsWithGlobals<GlobalOptions>()),
    );
  program
    .command("commit <container> <name>")
    .description(
      "make an image of a container: its own image and what it has changed as one layer more (stop or pause it before)",
    )
    .option("-m, --message <text>", "comment in the image's history")
    .option("-a, --author <name>", "author of the image")
    .option(
      "--timestamp <seconds>",
      "time of creation, since 1970, for an image that can be made again bit for bit (default SOURCE_DATE_EPOCH, or now)",
    )
    .action(async (reference: string, name: string, _, command: Command) => {
      const options = command.optsWithGlobals<CommitOptions>();
      await using store = await openLocalStore(options);
      const { id } = await containerOf(store, reference);
      const image = await store.commitContainer(id, {
        names: [formatReference(parseReference(name))],
        created: timeOf(options.timestamp ?? process.env["SOURCE_DATE_EPOCH"]),
        author: options.author,
        comment: options.message,
      });
      printResult(options.json ?? false, image, () => `${shortId(image.id)}\n`);
    });
}

export async function showContainerChanges(reference: string, options: GlobalOptions): Promise<void> {
  await using store = await openLocalStore(options);
  const { id } = await containerOf(store, reference);
  const changes: ContainerChange[] = [];
  for await (const change of store.containerChanges(id)) {
    if (options.json) changes.push(change);
    else print(`${letters[change.kind]} ${change.path}\n`);
  }
  if (options.json) printResult(true, changes, () => "");
}

async function containerOf(store: Store, reference: string): Promise<ContainerRecord> {
  const container = await store.findContainer(reference);
  if (container) return container;
  throw new OcidError("NOT_FOUND", `container ${reference} is not in the store ${store.root}`);
}

function timeOf(seconds: string | undefined): string | undefined {
  if (seconds === undefined) return undefined;
  const time = new Date(Number(seconds) * 1000);
  if (seconds === "" || Number.isNaN(time.getTime()))
    throw new OcidError("INVALID_ARGUMENT", `--timestamp should be seconds since 1970, found ${seconds}`);
  return time.toISOString();
}
