import { messageOf, OcidError } from "@ocid/base";
import { ContainerState } from "@ocid/cri-api";
import type { ImageRecord, Store } from "@ocid/storage";
import { type GlobalOptions, runtimeClient, usesDaemon } from "../global-options.ts";
import { printError } from "../output/output.ts";

export interface VerifyFlags {
  readonly all?: boolean;
  readonly container?: string;
  readonly content: boolean;
}

/** An image here, and the name by which a registry is asked for it. */
export interface NamedImage {
  readonly image: ImageRecord;
  /** Undefined: the image has none any more. */
  readonly name: string | undefined;
  /** Containers of the daemon that run it under this name. */
  readonly containers: readonly string[];
}

/** The images that `verify` is asked about: named ones, a container's, or all with those that containers run. */
export async function imagesToVerify(
  store: Store,
  names: readonly string[],
  flags: VerifyFlags,
  options: GlobalOptions,
): Promise<readonly NamedImage[]> {
  if (flags.all) return await everyImage(store, options);
  const found = await Promise.all(names.map(text => nameImage(store, text)));
  if (flags.container !== undefined) found.push(await imageOfContainer(store, flags.container, options));
  if (found.length === 0)
    throw new OcidError("INVALID_ARGUMENT", "name an image, or say --all or --container");
  return found;
}

async function everyImage(store: Store, options: GlobalOptions): Promise<readonly NamedImage[]> {
  const used = usesDaemon(options) ? await runningImages(store, options) : [];
  const usedAs = (image: ImageRecord, name: string) =>
    used
      .filter(entry => entry.image.id === image.id && entry.name === name)
      .flatMap(entry => entry.containers);
  const stored = (await store.listImages()).flatMap(image =>
    image.names.map(name => ({ image, name, containers: usedAs(image, name) })),
  );
  // A name may have moved on to another image since the container began; it still runs the old one.
  const left = used.filter(entry => !stored.some(other => other.containers.includes(entry.containers[0]!)));
  return [...stored, ...left];
}

/** Without a daemon that answers, the store's images are all that can be told of. */
async function runningImages(store: Store, options: GlobalOptions): Promise<readonly NamedImage[]> {
  using runtime = await runtimeClient(options);
  try {
    const { containers } = await runtime.listContainers({
      filter: { state: { state: ContainerState.CONTAINER_RUNNING } },
    });
    return await Promise.all(
      containers.map(async ({ id, imageId, image }) => {
        const record = await store.getImage(imageId);
        return { image: record, name: nameInUse(record, image), containers: [id] };
      }),
    );
  } catch (error) {
    if (options.runtimeEndpoint !== undefined) throw error;
    printError(`ocic: images that containers run are left out: ${messageOf(error)}`);
    return [];
  }
}

async function imageOfContainer(store: Store, id: string, options: GlobalOptions): Promise<NamedImage> {
  using runtime = await runtimeClient(options);
  const { status } = await runtime.containerStatus({ containerId: id });
  if (!status) throw new OcidError("NOT_FOUND", `there is no container ${id}`);
  const image = await store.getImage(status.imageId);
  return { image, name: nameInUse(image, status.image), containers: [status.id] };
}

/** By which name a container's image was asked for; a kubelet hands on an id, and the name beside it. */
function nameInUse(
  image: ImageRecord,
  spec: { readonly image: string; readonly userSpecifiedImage: string } | undefined,
): string | undefined {
  const asked = spec?.userSpecifiedImage || spec?.image || "";
  const id = asked.replace(/^sha256:/, "");
  if (id === "" || image.id.startsWith(id)) return image.names[0];
  return image.names.find(name => isSpelt(name, asked)) ?? asked;
}

/** An id, or a part of one, stands for the image's first name. */
async function nameImage(store: Store, text: string): Promise<NamedImage> {
  const image = await store.getImage(text);
  const name = image.names.find(candidate => isSpelt(candidate, text)) ?? image.names[0];
  if (name === undefined)
    throw new OcidError("FAILED_PRECONDITION", `image ${text} has no name, so no registry can be asked`);
  return { image, name, containers: [] };
}

/** What was typed may be short for a name. */
function isSpelt(name: string, text: string): boolean {
  return name === text || name.endsWith(`/${text}`) || name.startsWith(`${text}:`);
}
