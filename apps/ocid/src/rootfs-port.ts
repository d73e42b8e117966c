import { existsSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { sweepAtomic, writeAtomic } from "@ocid/base";
import type { RootfsPort } from "@ocid/cri-server";
import type { Store } from "@ocid/storage";

/** Containers' root file systems: writable layers of the store. `stateDir` keeps which images' layers are mounted for whom. */
export async function createRootfsPort(store: Store, stateDir: string): Promise<RootfsPort> {
  const metadata = JSON.stringify({ ocid: { stateDir } });
  const mounts = join(stateDir, "image-mounts");
  mkdirSync(mounts, { recursive: true, mode: 0o700 });
  await sweepAtomic(mounts);
  const mountedFor = (owner: string): readonly string[] => {
    const path = join(mounts, owner);
    return existsSync(path) ? JSON.parse(readFileSync(path, "utf8")) : [];
  };
  return {
    async create(request, options) {
      await store.createContainer(
        { id: request.id, name: request.name, imageId: request.imageId, metadata },
        options,
      );
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
    async mountImage({ imageId, owner }, options) {
      // Layers, because another program may remove the image's record while the mount is in use. Noted first: should we
      // die in between, one unmount too many does no harm, one too few would.
      const { layerId } = await store.getImage(imageId);
      await writeAtomic(join(mounts, owner), JSON.stringify([...mountedFor(owner), layerId]));
      return await store.mountImage(imageId, options);
    },
    async unmountImages(owner) {
      for (const layerId of mountedFor(owner)) await store.unmountImage({ layerId });
      rmSync(join(mounts, owner), { force: true });
    },
  };
}
