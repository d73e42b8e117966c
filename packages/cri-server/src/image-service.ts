import type { MessageInitShape } from "@bufbuild/protobuf";
import { OcidError } from "@ocid/base";
import {
  type AuthConfig,
  type FilesystemUsageSchema,
  type HandlersOf,
  ImageSchema,
  type ImageService,
} from "@ocid/cri-api";
import { inChunks } from "./in-chunks.ts";
import type { FilesystemUsage, PullCredentials, StoredImage } from "./ports.ts";
import { nowNs, type ServerContext } from "./server-context.ts";

/** The CRI's image calls. */
export function imageHandlers(context: ServerContext): HandlersOf<typeof ImageService> {
  const { images } = context.ports;
  const list = async (name: string | undefined) => {
    if (name === undefined || name === "") return await images.list();
    const found = await images.find(name);
    return found ? [found] : [];
  };
  return {
    async listImages(request) {
      return { images: (await list(request.filter?.image?.image)).map(toMessage) };
    },
    async *streamImages(request) {
      const all = await list(request.filter?.image?.image);
      for await (const images of inChunks(ImageSchema, all.map(toMessage))) yield { images };
    },
    async imageStatus(request, { signal }) {
      const image = await images.find(nameOf(request.image?.image), { signal });
      if (!image) return {};
      return {
        image: toMessage(image),
        info: request.verbose ? { info: JSON.stringify({ imageSpec: image.config }) } : {},
      };
    },
    async pullImage(request, { signal }) {
      await refuseUnknownHandler(context, request.image?.runtimeHandler ?? "");
      const image = await images.pull(nameOf(request.image?.image), {
        signal,
        credentials: request.auth && credentialsOf(request.auth),
        namespace: request.sandboxConfig?.metadata?.namespace ?? "",
      });
      return { imageRef: image.id };
    },
    async removeImage(request, { signal }) {
      await images.remove(nameOf(request.image?.image), { signal });
      return {};
    },
    async imageFsInfo(_, { signal }) {
      const usage = await images.usage({ signal });
      return {
        imageFilesystems: usage.images.map(toUsage),
        containerFilesystems: usage.containers.map(toUsage),
      };
    },
  };
}

/** All handlers share the images; one that is not configured could not run them. */
async function refuseUnknownHandler({ ports }: ServerContext, name: string): Promise<void> {
  if (name === "" || (await ports.runtime.handlers()).some(handler => handler.name === name)) return;
  throw new OcidError("NOT_FOUND", `runtime handler ${JSON.stringify(name)} is not configured`);
}

function nameOf(image: string | undefined): string {
  if (!image) throw new OcidError("INVALID_ARGUMENT", "the request names no image");
  return image;
}

function toMessage(image: StoredImage): MessageInitShape<typeof ImageSchema> {
  const user = image.config.config?.User?.split(":")[0] ?? "";
  return {
    id: image.id,
    repoTags: [...image.repoTags],
    repoDigests: [...image.repoDigests],
    size: BigInt(image.sizeBytes),
    // The kubelet checks runAsNonRoot by it. A number that no id can be is told as a name: one image must not
    // keep all others from being listed.
    ...(user === ""
      ? { uid: { value: 0n } }
      : /^\d{1,10}$/.test(user)
        ? { uid: { value: BigInt(user) } }
        : { username: user }),
    spec: { image: image.repoDigests[0] ?? image.repoTags[0] ?? image.id },
    pinned: image.pinned,
  };
}

/** `auth` is the pair as Docker's files have it; the single fields win where both are given. */
function credentialsOf(auth: AuthConfig): PullCredentials | undefined {
  const pair = auth.auth === "" ? "" : Buffer.from(auth.auth, "base64").toString("utf8").replace(/\0+$/, "");
  const colon = pair.indexOf(":");
  const username = auth.username || (colon > 0 ? pair.slice(0, colon) : "");
  const password = auth.password || (colon > 0 ? pair.slice(colon + 1) : "");
  if (username === "" && auth.identityToken === "" && auth.registryToken === "") return undefined;
  return {
    ...(username === "" ? {} : { username, password }),
    ...(auth.identityToken === "" ? {} : { identityToken: auth.identityToken }),
    ...(auth.registryToken === "" ? {} : { registryToken: auth.registryToken }),
    ...(auth.serverAddress === "" ? {} : { serverAddress: auth.serverAddress }),
  };
}

function toUsage(usage: FilesystemUsage): MessageInitShape<typeof FilesystemUsageSchema> {
  return {
    timestamp: nowNs(),
    fsId: { mountpoint: usage.mountpoint },
    usedBytes: { value: BigInt(usage.usedBytes) },
    inodesUsed: { value: BigInt(usage.inodesUsed) },
  };
}
