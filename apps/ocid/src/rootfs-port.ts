import { existsSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { sweepAtomic, writeAtomic } from "@ocid/base";
import type { RootfsPort } from "@ocid/cri-server";
import type { Store } from "@ocid/storage";
import { writeTar } from "./write-tar.ts";

/** Begins the notes of image volumes that are layers of their own. */
const layerOf = "container:";

/** Containers' root file systems: writable layers of the store. `stateDir` keeps which images' layers are mounted for whom. */
export async function createRootfsPort(store: Store, stateDir: string): Promise<RootfsPort> {
  const metadata = JSON.stringify({ ocid: { stateDir } });
  const mounts = join(stateDir, "image-mounts");
  mkdirSync(mounts, { recursive: true, mode: 0o700 });
  await sweepAtomic(mounts);
  // Marked apart from containers, so that nobody takes one for a container's root file system.
  const volumeMetadata = JSON.stringify({ ocid: { stateDir, imageVolume: true } });
  const mountedFor = (owner: string): readonly string[] => {
    const path = join(mounts, owner);
    return existsSync(path) ? JSON.parse(readFileSync(path, "utf8")) : [];
  };
  return {
    async create(request, options) {
      await store.createContainer({ ...request, metadata }, options);
    },
    mount: (id, options) => store.mountContainer(id, options),
    unmount: (id, options) => store.unmountContainer(id, options),
    remove: (id, options) => store.removeContainer(id, options),
    async list() {
      const own = (await store.listContainers()).filter(container => container.metadata === metadata);
      return own.map(container => ({ id: container.id, metadata: container.metadata }));
    },
    async usage(id, options) {
      return { ...(await store.containerUsage(id, options)), mountpoint: store.root };
    },
    async exportChanges(id, file, options) {
      await writeTar(store.openContainerDiff(id, { ...options, withoutRemoved: true }), file);
      const removed: string[] = [];
      for await (const change of store.containerChanges(id, options))
        if (change.kind === "removed") removed.push(change.path);
      return removed;
    },
    async importChanges(id, changes, options) {
      await store.importContainerChanges(id, changes, options);
    },
    async mountImage({ imageId, owner, idMappings, userNamespace }, options) {
      // Noted first: should we die in between, one unmount too many does no harm, one too few would.
      const note = async (what: string) =>
        await writeAtomic(join(mounts, owner), JSON.stringify([...mountedFor(owner), what]));
      if (idMappings) {
        // An overlay cannot be id-mapped, only what lies below it: so the volume is a container's layer that nobody writes to.
        const id = `${owner}-image-${mountedFor(owner).length}`;
        await note(`${layerOf}${id}`);
        await store.createContainer({ id, name: id, imageId, metadata: volumeMetadata, idMappings }, options);
        return await store.mountContainer(id, { ...options, userNamespace });
      }
      // Layers, because another program may remove the image's record while the mount is in use.
      const { layerId } = await store.getImage(imageId);
      if (layerId !== undefined) await note(layerId);
      return await store.mountImage(imageId, options);
    },
    async unmountImages(owner) {
      for (const note of mountedFor(owner)) {
        if (note.startsWith(layerOf)) await store.removeContainer(note.slice(layerOf.length));
        else await store.unmountImage({ layerId: note });
      }
      rmSync(join(mounts, owner), { force: true });
    },
  };
}
