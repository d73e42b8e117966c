import { randomBytes } from "node:crypto";
import { mkdirSync, realpathSync } from "node:fs";
import { OcidError } from "@ocid/base";
import { bindMount, isMountPoint, listMounts, unmount } from "@ocid/host";
import type { Store } from "@ocid/storage";
import type { Command } from "commander";
import { type GlobalOptions, openLocalStore } from "../global-options.ts";
import { print, printResult, printRows } from "../output/output.ts";

interface MountOptions extends GlobalOptions {
  readonly rw?: boolean;
  readonly name?: string;
}

/** Of containers that are made to be mounted, so that `umount --rm` takes away nothing else. */
const workingMark = JSON.stringify({ ocid: { working: true } });

/** Images and containers as file systems: mount, umount. */
export function addMountCommands(program: Command): void {
  program
    .command("mount [source] [directory]")
    .description(
      "mount an image (read-only) or a container (with its changes) and print where; without either, list what is mounted",
    )
    .option(
      "--rw",
      "a copy-on-write copy of an image: a container of its own, which commit makes an image of",
    )
    .option("--name <name>", "of that container; default made up")
    .action(async (source: string | undefined, directory: string | undefined, _, command: Command) => {
      const options = command.optsWithGlobals<MountOptions>();
      await using store = await openLocalStore(options);
      if (source === undefined) return await listMounted(store, options);
      const mounted = await mountSource(store, source, options);
      if (directory === undefined)
        return printResult(options.json ?? false, mounted, () => `${mounted.path}\n`);
      try {
        mkdirSync(directory, { recursive: true });
        bindMount(mounted.path, directory);
      } catch (error) {
        await giveBack(store, mounted.container ?? source, false);
        throw error;
      }
      const path = realpathSync(directory);
      printResult(options.json ?? false, { ...mounted, path }, () => `${path}\n`);
    });
  program
    .command("umount <sources...>")
    .description(
      "give mounts of images, of containers, or at directories back; the last user of an image's unmounts it",
    )
    .option("-f, --force", "unmount whoever else uses it")
    .option("--rm", "remove the container of mount --rw too, with its changes")
    .action(async (sources: string[], flags: { force?: boolean; rm?: boolean }, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions>();
      await using store = await openLocalStore(options);
      for (const source of sources) {
        const container = await unmountSource(store, source, flags.force ?? false);
        if (flags.rm) await removeWorking(store, source, container);
        print(`${source}\n`);
      }
    });
}

async function listMounted(store: Store, { json }: MountOptions): Promise<void> {
  const images = (await store.listImages()).map(image => ({
    kind: "image",
    name: image.names[0] ?? image.id,
    path: store.imageMountPath(image),
  }));
  const containers = (await store.listContainers()).map(container => ({
    kind: "container",
    name: container.names[0] ?? container.id,
    path: store.containerMountPath(container),
  }));
  const mounted = [...images, ...containers].flatMap(({ path, ...rest }) =>
    path === undefined ? [] : [{ ...rest, path }],
  );
  const rows = mounted.map(entry => [entry.kind, entry.name, entry.path]);
  printRows(json ?? false, mounted, ["kind", "name", "path"], rows);
}

async function mountSource(
  store: Store,
  source: string,
  { rw, name }: MountOptions,
): Promise<{ readonly path: string; readonly imageId?: string; readonly container?: string }> {
  const container = rw ? undefined : await store.findContainer(source);
  if (container) return { ...(await store.mountContainer(container.id)), container: container.id };
  if (!rw) {
    const { path, imageId } = await store.mountImage(source);
    return { path, imageId };
  }
  const id = randomBytes(32).toString("hex");
  const { id: imageId } = await store.getImage(source);
  await store.createContainer({
    id,
    name: name ?? `working-${id.slice(0, 12)}`,
    imageId,
    metadata: workingMark,
  });
  try {
    return { ...(await store.mountContainer(id)), imageId, container: id };
  } catch (error) {
    await store.removeContainer(id);
    throw error;
  }
}

/** The id of the container that it was, if it was one. */
async function unmountSource(store: Store, source: string, force: boolean): Promise<string | undefined> {
  if (!source.startsWith("/") && !source.startsWith("./")) return await giveBack(store, source, force);
  const directory = realpathSync(source);
  const owner = await mountedAt(store, directory);
  if (owner === undefined)
    throw new OcidError(
      "FAILED_PRECONDITION",
      `nothing of the store ${store.root} is mounted at ${directory}`,
    );
  if (isMountPoint(directory)) unmount(directory, { lazy: true });
  return await giveBack(store, owner, force);
}

/** The image or container whose mount a directory shows: one that has the same device number. */
async function mountedAt(store: Store, directory: string): Promise<string | undefined> {
  const mounts = listMounts();
  const device = mounts.findLast(entry => entry.target === directory)?.device;
  if (device === undefined) return undefined;
  const shows = (path: string | undefined) =>
    path !== undefined && mounts.some(entry => entry.target === path && entry.device === device);
  const container = (await store.listContainers()).find(one => shows(store.containerMountPath(one)));
  return container?.id ?? (await store.listImages()).find(image => shows(store.imageMountPath(image)))?.id;
}

async function giveBack(store: Store, source: string, force: boolean): Promise<string | undefined> {
  const container = await store.findContainer(source);
  if (container) {
    await store.unmountContainer(container.id);
    return container.id;
  }
  if (!(await store.unmountImage(source, { all: force })))
    throw new OcidError("FAILED_PRECONDITION", `image ${source} is not mounted`);
  return undefined;
}

async function removeWorking(store: Store, source: string, id: string | undefined): Promise<void> {
  const container = id === undefined ? undefined : await store.findContainer(id);
  if (container?.metadata !== workingMark)
    throw new OcidError(
      "FAILED_PRECONDITION",
      `${source} was not made by mount --rw, so it is unmounted but not removed`,
    );
  await store.removeContainer(container.id);
}
