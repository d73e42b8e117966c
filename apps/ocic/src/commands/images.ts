import { OcidError } from "@ocid/base";
import {
  copyImage,
  createRegistrySource,
  createStorageDestination,
  loadSignatureStores,
} from "@ocid/image-copy";
import type { Command } from "commander";
import { cancellation } from "../cancellation.ts";
import {
  endpointOf,
  type GlobalOptions,
  imageClient,
  imagePolicy,
  openLocalStore,
  platformOf,
  registryClient,
  usesDaemon,
} from "../global-options.ts";
import { print, printResult, printRows } from "../output/output.ts";
import { ProgressDisplay } from "../output/progress.ts";
import { formatAge, formatBytes, shortId } from "../output/units.ts";
import { findReference } from "./image-places.ts";
import { isJson, showingProgress } from "./image-transfer.ts";

/** Images on this node: pull, images, rmi. */
export function addImageCommands(program: Command): void {
  program
    .command("pull <image>")
    .description("fetch an image from its registry, through the daemon where one runs")
    .option("--progress <form>", "json writes progress as events to standard error")
    .action(async (image: string, own: { progress?: string }, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions>();
      // The daemon has a policy of its own.
      const id =
        options.policy === undefined && usesDaemon(options)
          ? await pullThroughDaemon(image, options, isJson(own.progress))
          : await pullIntoStore(image, options, isJson(own.progress));
      printResult(options.json ?? false, { id, image }, () => `${id}\n`);
    });
  program
    .command("images")
    .description("list the images on this node")
    .action(async (_, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions>();
      const images = usesDaemon(options) ? await imagesOfDaemon(options) : await imagesOfStore(options);
      const row = (image: ListedImage, name: string) => [
        name,
        shortId(image.id),
        image.created === undefined ? "" : formatAge(new Date(image.created)),
        formatBytes(image.sizeBytes),
      ];
      const rows = images.flatMap(image =>
        (image.names.length > 0 ? image.names : ["<none>"]).map(name => row(image, name)),
      );
      printRows(options.json ?? false, images, ["name", "image id", "created", "size"], rows);
    });
  program
    .command("rmi <images...>")
    .description("remove images with all their names")
    .action(async (images: string[], _, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions>();
      for (const image of images) {
        await (usesDaemon(options) ? removeFromDaemon(image, options) : removeFromStore(image, options));
        print(`removed ${image}\n`);
      }
    });
}

interface ListedImage {
  readonly id: string;
  readonly names: readonly string[];
  readonly digests: readonly string[];
  readonly sizeBytes: number;
  readonly created?: string;
}

async function removeFromDaemon(image: string, options: GlobalOptions): Promise<void> {
  using client = await imageClient(options);
  const { image: found } = await client.imageStatus({ image: { image } });
  if (!found) throw new OcidError("NOT_FOUND", `image ${image} is not on this node`);
  await client.removeImage({ image: { image: found.id } });
}

async function removeFromStore(image: string, options: GlobalOptions): Promise<void> {
  await using store = await openLocalStore(options);
  await store.removeImage((await store.getImage(image)).id);
}

async function imagesOfDaemon(options: GlobalOptions): Promise<readonly ListedImage[]> {
  using client = await imageClient(options);
  const { images } = await client.listImages({});
  return images.map(image => ({
    id: image.id,
    names: image.repoTags,
    digests: image.repoDigests,
    sizeBytes: Number(image.size),
  }));
}

async function imagesOfStore(options: GlobalOptions): Promise<readonly ListedImage[]> {
  await using store = await openLocalStore(options);
  const images = await store.listImages();
  return await Promise.all(
    images.map(async image => ({
      id: `sha256:${image.id}`,
      names: image.names,
      digests: image.digest ? [image.digest] : [],
      sizeBytes: await store.imageSize(image.id),
      created: image.created,
    })),
  );
}

async function pullThroughDaemon(image: string, options: GlobalOptions, json: boolean): Promise<string> {
  using client = await imageClient(options);
  const watching = new AbortController();
  const display = new ProgressDisplay(json);
  const { watchPulls } = await import("@ocid/cri-api");
  const shown = (async () => {
    for await (const progress of watchPulls(endpointOf(options), watching.signal))
      if (progress.image === image) display.show(progress);
  })();
  try {
    const colon = options.creds?.indexOf(":") ?? -1;
    const auth =
      options.creds === undefined
        ? {}
        : { auth: { username: options.creds.slice(0, colon), password: options.creds.slice(colon + 1) } };
    return (await client.pullImage({ image: { image }, ...auth })).imageRef;
  } finally {
    watching.abort();
    await shown;
    display.end();
  }
}

async function pullIntoStore(image: string, options: GlobalOptions, json: boolean): Promise<string> {
  const name = image.replace(/^docker:\/\//, "");
  await using store = await openLocalStore(options);
  // A name that is new here means layers, most likely; the thread for them starts while the registry is asked.
  if (!(await store.findImage(name))) store.prepareForLayers();
  await using client = registryClient(options);
  const reference = await findReference(client, name);
  const progress = showingProgress(json);
  const { image: stored } = await copyImage(
    createRegistrySource(client, reference, await loadSignatureStores()),
    createStorageDestination(store, reference),
    {
      platform: platformOf(options),
      policy: await imagePolicy(options),
      onProgress: progress.onProgress,
      signal: cancellation(),
    },
  );
  progress.end();
  return `sha256:${stored!.id}`;
}
