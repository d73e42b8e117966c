import { chownSync, mkdirSync, realpathSync, statSync } from "node:fs";
import { isAbsolute, join, normalize } from "node:path";
import { OcidError, wrapError } from "@ocid/base";
import { type Mount, MountPropagation } from "@ocid/cri-api";
import type { ImageConfig, RuntimeMount } from "@ocid/spec";
import type { CallOptions } from "./ports.ts";
import type { Container, Sandbox } from "./records.ts";
import { type PodIdMappings, sameRanges } from "./runtime-config/user-namespace.ts";
import type { ServerContext } from "./server-context.ts";

/** Where the content of each of a container's mounts lies on the node, and the images that some are of. */
export interface VolumeSources {
  /** In the order of the requested mounts. */
  readonly paths: readonly string[];
  /** Ids of the images of image volumes, by container path. */
  readonly imageRefs: Readonly<Record<string, string>>;
}

/** Finds and prepares what a container's mounts are of; what was mounted for it, `releaseVolumes` takes away. */
export async function prepareVolumes(
  context: ServerContext,
  sandbox: Sandbox,
  container: Container,
  mappings: PodIdMappings | undefined,
  options: CallOptions,
): Promise<VolumeSources> {
  const imageRefs: Record<string, string> = {};
  const paths: string[] = [];
  for (const [at, mount] of container.config.mounts.entries()) {
    checkMount(mount, mappings);
    if (mount.image) {
      const volume = await mountImage(context, sandbox, container, mount, mappings, options);
      imageRefs[mount.containerPath] = volume.imageRef;
      paths.push(volume.path);
      continue;
    }
    const source = hostSource(mount.hostPath);
    await refusePropagation(context, mount, source);
    if (mount.uidMappings.length === 0) paths.push(source);
    else {
      const target = join(idmappedDirectory(context, container), String(at));
      await context.ports.node.mountIdmapped({ source, target, userNamespace: sandbox.namespaces.user! });
      paths.push(target);
    }
  }
  return { paths, imageRefs };
}

/** The runtime holds its own mounts once the container is made. */
export async function releaseIdmapped(context: ServerContext, container: Container): Promise<void> {
  await context.ports.node.removeMounts(idmappedDirectory(context, container));
}

function idmappedDirectory({ records }: ServerContext, container: Container): string {
  return join(records.containerDirectory(container.id), "idmapped");
}

function checkMount(mount: Mount, mappings: PodIdMappings | undefined): void {
  const at = `mount at ${mount.containerPath}`;
  if (mount.uidMappings.length + mount.gidMappings.length > 0) {
    if (!mappings)
      throw new OcidError(
        "INVALID_ARGUMENT",
        `${at} has id mappings, but the pod has no user namespace of its own`,
      );
    if (!sameRanges(mount.uidMappings, mappings.uids) || !sameRanges(mount.gidMappings, mappings.gids))
      throw new OcidError("INVALID_ARGUMENT", `${at} has other id mappings than its pod`);
  }
  if (mount.image && mount.hostPath !== "")
    throw new OcidError("INVALID_ARGUMENT", `${at} is of an image and of a host path at once`);
  if (!mount.image && mount.imageSubPath !== "")
    throw new OcidError("INVALID_ARGUMENT", `${at} has a path below an image, but no image`);
}

/** A host path that is missing becomes a directory, as the kubelet expects of its volumes; symlinks are followed. */
function hostSource(path: string): string {
  if (!isAbsolute(path) || path.includes("\0"))
    throw new OcidError(
      "INVALID_ARGUMENT",
      `the host path ${JSON.stringify(path.slice(0, 200))} of a mount should be absolute`,
    );
  try {
    if (statSync(path, { throwIfNoEntry: false }) === undefined)
      mkdirSync(path, { recursive: true, mode: 0o755 });
    return realpathSync(path);
  } catch (error) {
    throw wrapError(`host path ${path} of a mount`, error);
  }
}

/** Mounts can only spread from and to the node where the node's own mount lets them. */
async function refusePropagation(context: ServerContext, mount: Mount, source: string): Promise<void> {
  if (mount.propagation === MountPropagation.PROPAGATION_PRIVATE) return;
  const { mountpoint, shared, slave } = await context.ports.node.propagationOf(source);
  const bidirectional = mount.propagation === MountPropagation.PROPAGATION_BIDIRECTIONAL;
  if (shared || (slave && !bidirectional)) return;
  throw new OcidError(
    "FAILED_PRECONDITION",
    `mount at ${mount.containerPath}: ${source} is on ${mountpoint}, which is not a shared${bidirectional ? "" : " or slave"} mount; make it shared on the node (mount --make-rshared), or ask for no propagation`,
  );
}

async function mountImage(
  { ports }: ServerContext,
  sandbox: Sandbox,
  container: Container,
  mount: Mount,
  mappings: PodIdMappings | undefined,
  options: CallOptions,
): Promise<{ readonly path: string; readonly imageRef: string }> {
  const at = `the volume at ${mount.containerPath}`;
  const name = mount.image!.image;
  if (isAbsolute(mount.imageSubPath) || mount.imageSubPath.split("/").includes(".."))
    throw new OcidError(
      "INVALID_ARGUMENT",
      `${at} has a sub-path that leaves its image: ${mount.imageSubPath}`,
    );
  const image = await ports.images.find(name, options);
  if (!image)
    throw new OcidError(
      "NOT_FOUND",
      `image ${JSON.stringify(name)} of ${at} is not on this node; pull it first`,
    );
  const mapped =
    mappings && mount.uidMappings.length > 0
      ? { idMappings: mappings, userNamespace: sandbox.namespaces.user }
      : {};
  const { path } = await ports.rootfs.mountImage(
    { imageId: image.id, owner: container.id, ...mapped },
    options,
  );
  const inside = await ports.node.resolveInRoot(path, mount.imageSubPath);
  if (inside === undefined)
    throw new OcidError("NOT_FOUND", `${at}: ${JSON.stringify(mount.imageSubPath)} is not in image ${name}`);
  return { path: inside, imageRef: image.id };
}

/** Volumes that the image declares are empty directories of the container's own, unless something is mounted there. */
export function declaredVolumes(
  context: ServerContext,
  container: Container,
  image: ImageConfig,
  mappings: PodIdMappings | undefined,
): readonly RuntimeMount[] {
  const taken = new Set(container.config.mounts.map(mount => normalize(mount.containerPath)));
  const declared = new Set(
    Object.keys(image.config?.Volumes ?? {})
      .filter(path => isAbsolute(path) && !path.includes("\0"))
      .map(path => normalize(path).replace(/(?<=.)\/$/, "")),
  );
  return [...declared]
    .filter(path => path !== "/" && !taken.has(path))
    .map((path, at) => {
      const source = join(context.records.containerDirectory(container.id), "volumes", String(at));
      mkdirSync(source, { recursive: true, mode: 0o755 });
      if (mappings) chownSync(source, mappings.uids[0]!.hostID, mappings.gids[0]!.hostID);
      return { destination: path, type: "bind", source, options: ["rbind", "rprivate", "rw"] };
    });
}
