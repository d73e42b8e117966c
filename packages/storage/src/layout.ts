import { chmodSync, mkdirSync, realpathSync } from "node:fs";
import { join } from "node:path";
import { OcidError } from "@ocid/base";

/** Where everything of a store lies (containers/storage with the overlay driver). */
export interface Layout {
  readonly root: string;
  readonly runRoot: string;
  /** Where images and their layers go instead (`imagestore` of storage.conf); undefined when they go here too. */
  readonly imageStore: Layout | undefined;
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
export function prepareLayout(root: string, runRoot: string, imageStore?: string): Layout {
  for (const path of [root, runRoot, ...(imageStore === undefined ? [] : [imageStore])]) {
    if (/[:,\\\n]/.test(path))
      throw new OcidError(
        "INVALID_ARGUMENT",
        `store path ${JSON.stringify(path)} contains a character that overlay mounts cannot take (: , \\)`,
      );
    makeDirectory(path, 0o711);
  }
  const layout = layoutOf(
    realpathSync(root),
    realpathSync(runRoot),
    imageStore === undefined ? undefined : realpathSync(imageStore),
  );
  for (const { overlay, links, layers, images } of placesOf(layout)) {
    // Roots of user namespaces pass through on the way to their root file systems, but may not look around.
    makeDirectory(overlay, 0o711);
    makeDirectory(links, 0o755);
    for (const path of [layers, images]) makeDirectory(path, 0o700);
  }
  for (const path of [layout.containers, layout.mountRecords]) makeDirectory(path, 0o700);
  return layout;
}

/** The graph root, and the image store where there is one: the order of their locks. */
export function placesOf(layout: Layout): readonly Layout[] {
  return layout.imageStore === undefined ? [layout] : [layout, layout.imageStore];
}

/** Where new images and their layers go. */
export function imagePlace(layout: Layout): Layout {
  return layout.imageStore ?? layout;
}

/** Directories that are there keep the mode that somebody gave them. */
function makeDirectory(path: string, mode: number): void {
  if (mkdirSync(path, { recursive: true, mode: 0o700 }) !== undefined) chmodSync(path, mode);
}

/** An image store that is the graph root is none. */
export function layoutOf(root: string, runRoot: string, imageStore?: string): Layout {
  const overlay = join(root, "overlay");
  const layers = join(root, "overlay-layers");
  const images = join(root, "overlay-images");
  const containers = join(root, "overlay-containers");
  const mountRecords = join(runRoot, "overlay-layers");
  return {
    root,
    runRoot,
    imageStore: imageStore === undefined || imageStore === root ? undefined : layoutOf(imageStore, runRoot),
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
