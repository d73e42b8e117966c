import { chmodSync, mkdirSync, realpathSync } from "node:fs";
import { join } from "node:path";
import { OcidError } from "@ocid/base";

/** Where everything of a store lies (containers/storage with the overlay driver). */
export interface Layout {
  readonly root: string;
  readonly runRoot: string;
  readonly overlay: string;
  readonly links: string;
  readonly layers: string;
  readonly images: string;
  readonly containers: string;
  readonly mountRecords: string;
  readonly locks: {
    readonly storage: string;
    readonly layers: string;
    readonly images: string;
    readonly containers: string;
    readonly mountpoints: string;
  };
  /** Staging for layers' content, on the same mount as the layers. */
  readonly contentStaging: string;
  /** Staging for what lies beside layers.json. */
  readonly metadataStaging: string;
  /** What only we keep; a directory that other programs leave alone. */
  readonly own: string;
}

/** Makes the store's directories where they are missing and resolves their real paths, on which mounts and locks depend. */
export function prepareLayout(root: string, runRoot: string): Layout {
  for (const path of [root, runRoot]) {
    if (/[:,\\\n]/.test(path))
      throw new OcidError(
        "INVALID_ARGUMENT",
        `store path ${JSON.stringify(path)} contains a character that overlay mounts cannot take (: , \\)`,
      );
    makeDirectory(path, 0o711);
  }
  const layout = layoutOf(realpathSync(root), realpathSync(runRoot));
  // Roots of user namespaces pass through on the way to their root file systems, but may not look around.
  makeDirectory(layout.overlay, 0o711);
  makeDirectory(layout.links, 0o755);
  for (const path of [layout.layers, layout.images, layout.containers, layout.mountRecords])
    makeDirectory(path, 0o700);
  return layout;
}

/** Directories that are there keep the mode that somebody gave them. */
function makeDirectory(path: string, mode: number): void {
  if (mkdirSync(path, { recursive: true, mode: 0o700 }) !== undefined) chmodSync(path, mode);
}

export function layoutOf(root: string, runRoot: string): Layout {
  const overlay = join(root, "overlay");
  const layers = join(root, "overlay-layers");
  const images = join(root, "overlay-images");
  const containers = join(root, "overlay-containers");
  const mountRecords = join(runRoot, "overlay-layers");
  return {
    root,
    runRoot,
    overlay,
    links: join(overlay, "l"),
    layers,
    images,
    containers,
    mountRecords,
    locks: {
      storage: join(root, "storage.lock"),
      layers: join(layers, "layers.lock"),
      images: join(images, "images.lock"),
      containers: join(containers, "containers.lock"),
      mountpoints: join(mountRecords, "mountpoints.lock"),
    },
    contentStaging: join(overlay, "tempdirs"),
    metadataStaging: join(layers, "tmp"),
    own: join(root, "ocid"),
  };
}
