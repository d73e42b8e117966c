import { chownSync, mkdirSync, realpathSync, statSync } from "node:fs";
import { isAbsolute, join, normalize } from "node:path";
import { OcidError, wrapError } from "@ocid/base";
import { type Mount, MountPropagation } from "@ocid/cri-api";
import type { ImageConfig, RuntimeMount } from "@ocid/spec";
import type { Stage } from "./creations.ts";
import type { CallOptions, StoredImage } from "./ports.ts";
import type { Container, Sandbox } from "./records.ts";
import type { SourcedMount } from "./runtime-config/mounts.ts";
import { type PodIdMappings, sameRanges } from "./runtime-config/user-namespace.ts";
import type { ServerContext } from "./server-context.ts";

/** A container's mounts with where their content lies on the node, and the images that some are of. */
export interface Volumes {
  readonly mounts: readonly SourcedMount[];
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
  stage: Stage,
): Promise<Volumes> {
  const imageRefs: Record<string, string> = {};
  const mounts: SourcedMount[] = [];
  for (const [at, mount] of container.config.mounts.entries()) {
    checkMount(mount, mappings);
    stage(`volume ${mount.image?.image ?? mount.hostPath} at ${mount.containerPath}`);
    if (mount.image) {
      const image = await findVolumeImage(context, sandbox, mount, options);
      imageRefs[mount.containerPath] = image.id;
      if (image.files) mounts.push(...artifactMounts(mount, image.files));
      else {
        const source = await mountImage(context, sandbox, container, image, mount, mappings, options);
        mounts.push({ mount, source });
      }
      continue;
    }
    const source = hostSource(mount.hostPath);
    await refusePropagation(context, mount, source);
    if (mount.uidMappings.length === 0) mounts.push({ mount, source });
    else {
      const target = join(idmappedDirectory(context, container), String(at));
      await context.ports.node.mountIdmapped({ source, target, userNamespace: sandbox.namespaces.user! });
      mounts.push({ mount, source: target });
    }
  }
  return { mounts, imageRefs };
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
  if (mount.image && !mount.readonly)
    throw new OcidError("INVALID_ARGUMENT", `${at} is of an image, which cannot be written to; set readonly`);
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

async function findVolumeImage(
  { ports }: ServerContext,
  sandbox: Sandbox,
  mount: Mount,
  options: CallOptions,
): Promise<StoredImage> {
  const at = `the volume at ${mount.containerPath}`;
  if (isAbsolute(mount.imageSubPath) || mount.imageSubPath.split("/").includes(".."))
    throw new OcidError(
      "INVALID_ARGUMENT",
      `${at} has a sub-path that leaves its image: ${mount.imageSubPath}`,
    );
  const name = mount.image!.image;
  const image = await ports.images.find(name, options);
  if (image) {
    const asked = mount.image!.userSpecifiedImage || name;
    const namespace = sandbox.config.metadata!.namespace;
    await ports.images.admit(image, { name: asked, namespace, ...options });
    return image;
  }
  throw new OcidError(
    "NOT_FOUND",
    `image ${JSON.stringify(name)} of ${at} is not on this node; pull it first`,
  );
}

async function mountImage(
  { ports }: ServerContext,
  sandbox: Sandbox,
  container: Container,
  image: StoredImage,
  mount: Mount,
  mappings: PodIdMappings | undefined,
  options: CallOptions,
): Promise<string> {
  const mapped =
    mappings && mount.uidMappings.length > 0
      ? { idMappings: mappings, userNamespace: sandbox.namespaces.user }
      : {};
  const { path } = await ports.rootfs.mountImage(
    { imageId: image.id, owner: container.id, ...mapped },
    options,
  );
  const inside = await ports.node.resolveInRoot(path, mount.imageSubPath);
  if (inside === undefined) throw noSubPath(mount);
  return inside;
}

/** Each file of an artifact is a mount below the volume's path; a sub-path chooses one, or those below it. */
function artifactMounts(mount: Mount, files: NonNullable<StoredImage["files"]>): readonly SourcedMount[] {
  const wanted = mount.imageSubPath
    .split("/")
    .filter(part => part !== "" && part !== ".")
    .join("/");
  const chosen = files.filter(
    ({ title }) => wanted === "" || title === wanted || title.startsWith(`${wanted}/`),
  );
  if (chosen.length === 0) throw noSubPath(mount);
  return chosen.map(({ title, path }) => ({
    mount: { ...mount, containerPath: join(mount.containerPath, title.slice(wanted.length)) },
    source: path,
  }));
}

function noSubPath(mount: Mount): OcidError {
  return new OcidError(
    "NOT_FOUND",
    `the volume at ${mount.containerPath}: there is no ${JSON.stringify(mount.imageSubPath)} in image ${mount.image!.image}`,
  );
}

/**
 * Volumes that the image declares are empty directories of the container's own, unless something is mounted there. What
 * the kernel shows at /proc, /sys and /dev stays as it is: under an image's directory nothing would be masked.
 */
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
    .filter(path => path !== "/" && !taken.has(path) && !/^\/(proc|sys|dev)(\/|$)/.test(path))
    .map((path, at) => {
      const source = join(context.records.containerDirectory(container.id), "volumes", String(at));
      mkdirSync(source, { recursive: true, mode: 0o755 });
      if (mappings) chownSync(source, mappings.uids[0]!.hostID, mappings.gids[0]!.hostID);
      return { destination: path, type: "bind", source, options: ["rbind", "rprivate", "rw"] };
    });
}
