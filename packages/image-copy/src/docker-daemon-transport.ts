import { OcidError } from "@ocid/base";
import { formatReference, parseDigest, parseReference, type Reference } from "@ocid/spec";
import { createDockerArchiveDestination } from "./docker-archive-destination.ts";
import { openDockerArchiveSource } from "./docker-archive-source.ts";
import { DockerEngine } from "./docker-engine.ts";
import type { BlobDestination, CallOptions, ImageSource } from "./image-source.ts";
import { registryIdentity } from "./policy-scopes.ts";
import { Spool } from "./spool.ts";

export interface DockerDaemonOptions extends CallOptions {
  /** The engine's socket. Default: that of `DOCKER_HOST`, or the usual one. */
  readonly socket?: string | undefined;
  /** Where the archive lies that is exchanged with the engine. Default: TMPDIR, or /var/tmp. */
  readonly temporaryDirectory?: string | undefined;
}

/**
 * An image of a Docker engine, by name or by its id (`sha256:…`). Engines hand images out as `docker save` does, without
 * a manifest, so one is made up, of plain layers; the id of the image stays. Dispose of it.
 */
export async function openDockerDaemonSource(
  image: string,
  options: DockerDaemonOptions = {},
): Promise<ImageSource & AsyncDisposable> {
  const engine = new DockerEngine(options.socket);
  const name = `docker-daemon:${image}`;
  const wanted = /^sha256:/.test(image) ? parseDigest(image) : formatReference(parseReference(image));
  await engine.imageId(wanted, options);
  await using stack = new AsyncDisposableStack();
  const spool = stack.use(new Spool(options.temporaryDirectory));
  const { path } = await spool.write(engine.save(wanted, options), options);
  const archive = stack.use(await openDockerArchiveSource(path, undefined, options));
  const kept = stack.move();
  return {
    ...archive,
    name,
    identity: identityOf(image),
    [Symbol.asyncDispose]: () => kept[Symbol.asyncDispose](),
  };
}

/** Gives an image to a Docker engine under a name, once it is complete. Dispose of it. */
export function createDockerDaemonDestination(
  reference: Reference,
  options: DockerDaemonOptions = {},
): BlobDestination & AsyncDisposable {
  if (reference.digest !== undefined)
    throw new OcidError(
      "INVALID_ARGUMENT",
      `docker-daemon:${formatReference(reference)}: an engine names images by tags only`,
    );
  const engine = new DockerEngine(options.socket);
  const spool = new Spool(options.temporaryDirectory);
  let opened: Promise<{ path: string; archive: BlobDestination & AsyncDisposable }> | undefined;
  const archive = async () => {
    opened ??= spool
      .newPath()
      .then(path => ({ path, archive: createDockerArchiveDestination(path, reference) }));
    return await opened;
  };
  return {
    kind: "blobs",
    name: `docker-daemon:${formatReference(reference)}`,
    layers: "plain",
    format: "docker",
    holdsOtherFormats: false,
    holdsIndexes: false,
    hasBlob: async (...args) => await (await archive()).archive.hasBlob(...args),
    putBlob: async (...args) => await (await archive()).archive.putBlob(...args),
    putManifest: async (...args) => await (await archive()).archive.putManifest(...args),
    async commit(call = {}) {
      const { path, archive: written } = await archive();
      await written.commit?.(call);
      await engine.load(path, call);
    },
    async [Symbol.asyncDispose]() {
      await (await opened)?.archive[Symbol.asyncDispose]();
      await spool[Symbol.asyncDispose]();
    },
  };
}

function identityOf(image: string) {
  if (/^sha256:/.test(image)) return { transport: "docker-daemon", scopes: [image] };
  const { scopes, reference } = registryIdentity(parseReference(image));
  return {
    transport: "docker-daemon",
    scopes: scopes.filter(scope => !scope.startsWith("*.")),
    ...(reference === undefined ? {} : { reference }),
  };
}
