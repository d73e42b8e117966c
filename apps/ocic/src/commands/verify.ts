import { OcidError } from "@ocid/base";
import { type Comparison, compareImage, verifyStoredImage } from "@ocid/image-copy";
import type { ImageRecord, Store } from "@ocid/storage";
import type { Command } from "commander";
import { ExitWith } from "../exit-code.ts";
import { type GlobalOptions, openLocalStore, registryClient, runtimeClient } from "../global-options.ts";
import { printRows } from "../output/output.ts";
import { shortId } from "../output/units.ts";

/** What each verdict ends the command with; the gravest counts. */
const exitCodes = { same: 0, stale: 20, gone: 21, unknown: 22, tampered: 23 } as const;

/** Is the image here still the registry's? */
export function addVerifyCommand(program: Command): void {
  program
    .command("verify [images...]")
    .description(
      "say whether stored images, or those of running containers, are still what the registry serves: same, stale, gone, unknown, tampered",
    )
    .option("--all", "every image on this node")
    .option("--container <id>", "the image that a container of the daemon runs")
    .option("--content", "read the image's layers too, to see whether they have been changed here")
    .addHelpText(
      "after",
      "\nexit codes: 0 same, 20 stale, 21 gone, 22 unknown, 23 tampered; of several images the gravest",
    )
    .action(async (images: string[], flags: VerifyFlags, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions>();
      await using store = await openLocalStore(options);
      await using client = registryClient(options);
      const results: Comparison[] = [];
      for (const { image, name } of await wantedNames(store, images, flags, options)) {
        results.push(
          await compareImage(
            client,
            image,
            name,
            flags.content ? { verifyContent: () => verifyStoredImage(store, image) } : {},
          ),
        );
      }
      const rows = results.map(result => [
        result.name,
        result.verdict,
        short(result.localDigest),
        short(result.remoteDigest),
        result.detail,
      ]);
      printRows(options.json ?? false, results, ["image", "verdict", "here", "registry", "detail"], rows);
      const gravest = Math.max(...results.map(result => exitCodes[result.verdict]), 0);
      if (gravest > 0) throw new ExitWith(gravest);
    });
}

interface VerifyFlags {
  readonly all?: boolean;
  readonly container?: string;
  readonly content?: boolean;
}

interface NamedImage {
  readonly image: ImageRecord;
  readonly name: string;
}

async function wantedNames(
  store: Store,
  images: readonly string[],
  flags: VerifyFlags,
  options: GlobalOptions,
): Promise<readonly NamedImage[]> {
  if (flags.all)
    return (await store.listImages()).flatMap(image => image.names.map(name => ({ image, name })));
  const names = [...images];
  if (flags.container !== undefined) {
    using runtime = runtimeClient(options);
    const { status } = await runtime.containerStatus({ containerId: flags.container });
    names.push(status?.image?.image || status?.imageRef || "");
  }
  if (names.length === 0)
    throw new OcidError("INVALID_ARGUMENT", "name an image, or say --all or --container");
  return await Promise.all(names.map(text => nameImage(store, text)));
}

/** An id, or a part of one, stands for the image's first name. */
async function nameImage(store: Store, text: string): Promise<NamedImage> {
  const image = await store.getImage(text);
  // What was typed may be short for a name, or another one of the same image.
  const spelt = image.names.find(
    candidate => candidate === text || candidate.endsWith(`/${text}`) || candidate.startsWith(`${text}:`),
  );
  const name = spelt ?? image.names[0];
  if (name === undefined)
    throw new OcidError("FAILED_PRECONDITION", `image ${text} has no name, so no registry can be asked`);
  return { image, name };
}

function short(digest: string | undefined): string {
  return digest === undefined ? "-" : shortId(digest);
}
