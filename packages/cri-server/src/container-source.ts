import { OcidError } from "@ocid/base";
import type { ContainerConfig } from "@ocid/cri-api";
import { type CheckpointSource, checkpointArchive } from "./checkpoint/restore-container.ts";
import type { Stage } from "./creations.ts";
import type { CallOptions, StoredImage } from "./ports.ts";
import type { Sandbox } from "./records.ts";
import type { ServerContext } from "./server-context.ts";

/** What a container is made of. */
export type ContainerSource =
  | { readonly kind: "image"; readonly image: StoredImage }
  | ({ readonly kind: "checkpoint" } & CheckpointSource);

/** Finds what a container's config names as its image, and asks the node's policy for it. */
export async function containerSource(
  { ports }: ServerContext,
  sandbox: Sandbox,
  config: ContainerConfig,
  { signal }: CallOptions,
  stage: Stage,
): Promise<ContainerSource> {
  const wanted = config.image!.image;
  const { namespace } = sandbox.config.metadata!;
  const archive = checkpointArchive(wanted);
  if (archive !== undefined) {
    stage(`image policy for ${archive}`);
    await ports.images.admitFile(archive, { namespace, signal });
    return { kind: "checkpoint", archive };
  }
  const image = await ports.images.find(wanted, { signal });
  if (!image)
    throw new OcidError("NOT_FOUND", `image ${JSON.stringify(wanted)} is not on this node; pull it first`);
  if (image.files)
    throw new OcidError(
      "FAILED_PRECONDITION",
      `${JSON.stringify(wanted)} is an artifact, which can be a volume but not run`,
    );
  stage(`image policy for ${wanted}`);
  const name = config.image!.userSpecifiedImage || wanted;
  await ports.images.admit(image, { name, namespace, signal });
  return image.checkpointOf === undefined ? { kind: "image", image } : { kind: "checkpoint", image };
}
