import { join } from "node:path";
import type { ContainerConfig } from "@ocid/cri-api";
import type { Restore } from "./checkpoint/restore-container.ts";
import type { ContainerSource } from "./container-source.ts";
import type { StoredImage } from "./ports.ts";
import type { Container, Sandbox } from "./records.ts";
import { newId, nowNs } from "./server-context.ts";
import { signalName } from "./stop-signal.ts";

/** A container of which nothing is made yet. */
export function newContainer(
  sandbox: Sandbox,
  name: string,
  config: ContainerConfig,
  source: ContainerSource,
): Container {
  // Of a checkpoint it is known once the checkpoint was read.
  const image = source.kind === "image" ? source.image : undefined;
  const logs = sandbox.config.logDirectory;
  return {
    id: newId(),
    sandboxId: sandbox.id,
    name,
    phase: "creating",
    config,
    imageId: image?.id ?? "",
    imageRef: image ? imageRefOf(image) : "",
    createdAtNs: nowNs(),
    startedAtNs: 0n,
    stopSignal: stopSignalOf(config, image),
    logPath: logs !== "" && config.logPath !== "" ? join(logs, config.logPath) : undefined,
    user: { uid: 0, gid: 0, groups: [] },
    volumeImages: {},
    state: { status: "unknown" },
    endTold: false,
    unanswered: false,
  };
}

/** The same once the checkpoint was read that it is restored from: its image is that of the checkpointed one. */
export function restored(container: Container, { image, checkpoint }: Restore): Container {
  return {
    ...container,
    imageId: image.id,
    imageRef: imageRefOf(image),
    stopSignal: stopSignalOf(container.config, image),
    restored: { checkpointedAt: checkpoint.checkpointedAt },
  };
}

function imageRefOf(image: StoredImage): string {
  return image.repoDigests[0] ?? image.id;
}

function stopSignalOf(config: ContainerConfig, image: StoredImage | undefined): string {
  return config.stopSignal !== 0
    ? signalName(config.stopSignal)
    : image?.config.config?.StopSignal || "SIGTERM";
}
