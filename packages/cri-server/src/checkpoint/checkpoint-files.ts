import type { RuntimeSpec } from "@ocid/spec";
import type { Container, Sandbox } from "../records.ts";

/** Name of the container's log in an archive, and of the annotation that says where it was. */
export const logPathName = "io.kubernetes.cri-o.LogPath";

/** A mount of the node that has to be there when the container is restored. */
interface ExternalMount {
  readonly source: string;
  readonly destination: string;
  readonly file_type: "file" | "directory";
  readonly permissions: number;
}

/** `config.dump`: which container it was, of which image; the keys are those that checkpointctl and CRI-O read. */
export function configDump(
  container: Container,
  sandbox: Sandbox | undefined,
  defaultRuntime: string,
  now: Date,
): object {
  return {
    id: container.id,
    name: container.name,
    rootfsImage: container.config.image?.userSpecifiedImage || container.config.image?.image || "",
    rootfsImageRef: container.imageId,
    rootfsImageName: container.imageRef,
    runtime: sandbox?.handler || defaultRuntime,
    createdTime: dateOf(container.createdAtNs),
    checkpointedTime: now.toISOString(),
    restoredTime: "0001-01-01T00:00:00Z",
    restored: false,
  };
}

/** `spec.dump`: the runtime configuration, with the annotations by which those who read archives know the container. */
export function specDump(spec: RuntimeSpec, container: Container, sandbox: Sandbox | undefined): object {
  const { metadata } = sandbox?.config ?? {};
  const own = {
    "io.container.manager": "cri-o",
    "io.kubernetes.cri-o.Annotations": JSON.stringify(container.config.annotations),
    "io.kubernetes.cri-o.ContainerType": "container",
    "io.kubernetes.cri-o.Created": dateOf(container.createdAtNs),
    "io.kubernetes.cri-o.Image": container.imageId,
    "io.kubernetes.cri-o.ImageName": container.config.image?.image ?? "",
    "io.kubernetes.cri-o.Labels": JSON.stringify(container.config.labels),
    "io.kubernetes.cri-o.Metadata": JSON.stringify({
      name: container.config.metadata?.name ?? "",
      attempt: container.config.metadata?.attempt ?? 0,
    }),
    "io.kubernetes.cri-o.Name": container.name,
    "io.kubernetes.cri-o.SandboxID": container.sandboxId,
    "io.kubernetes.cri-o.SandboxName": metadata?.name ?? "",
    "io.kubernetes.container.name": container.config.metadata?.name ?? "",
    "io.kubernetes.pod.name": metadata?.name ?? "",
    "io.kubernetes.pod.namespace": metadata?.namespace ?? "",
    "io.kubernetes.pod.uid": metadata?.uid ?? "",
    [logPathName]: container.logPath ?? "",
  };
  return { ...spec, annotations: { ...spec.annotations, ...own } };
}

const madeAnew = new Set(["/dev", "/dev/shm", "/proc", "/run", "/run/secrets", "/sys"]);

/** `bind.mounts`: what of the node the container has mounted, and whether it is a file. */
export function externalMounts(
  spec: RuntimeSpec,
  stat: (path: string) => { isDirectory(): boolean; readonly mode: number },
): readonly ExternalMount[] {
  return (spec.mounts ?? [])
    .filter(mount => (mount.type === "bind" || isBound(mount.options)) && !madeAnew.has(mount.destination))
    .map(({ source = "", destination }) => {
      const found = stat(source);
      const kind = found.isDirectory() ? "directory" : "file";
      return { source, destination, file_type: kind, permissions: found.mode & 0o777 };
    });
}

function isBound(options: readonly string[] | undefined): boolean {
  return options?.some(option => option === "bind" || option === "rbind") ?? false;
}

function dateOf(nanoseconds: bigint): string {
  return new Date(Number(nanoseconds / 1_000_000n)).toISOString();
}
