import { readCapped } from "@ocid/base";
import type { RegistryClient } from "@ocid/registry";
import {
  choosePlatform,
  currentPlatform,
  maxManifestBytes,
  type Platform,
  parseImageConfig,
  parseManifest,
  type Reference,
} from "@ocid/spec";
import type { CallOptions, ManifestBytes } from "./image-source.ts";

const annotation = "org.opencontainers.image.created";

/**
 * When a served image says that it was made: by annotation, or in its config (image-spec, "Pre-Defined Annotation Keys";
 * config, `created`). Undefined where it does not say, or what would say so cannot be read.
 */
export async function readCreated(
  client: Pick<RegistryClient, "fetchManifest" | "openBlob">,
  { registry, repository }: Reference,
  served: ManifestBytes,
  options: CallOptions & { readonly platform?: Platform | undefined },
): Promise<string | undefined> {
  try {
    const parsed = parseManifest(served.bytes, served.descriptor.mediaType);
    if (parsed.kind === "index") {
      const { digest } = choosePlatform(parsed.index, options.platform ?? currentPlatform());
      const manifest = await client.fetchManifest({ registry, repository, digest }, options);
      // Indexes in indexes are rare enough to go without the time.
      return parseManifest(manifest.bytes, manifest.descriptor.mediaType).kind === "index"
        ? undefined
        : await readCreated(client, { registry, repository }, manifest, options);
    }
    const { annotations, config } = parsed.manifest;
    const stated = annotations?.[annotation];
    if (stated !== undefined) return timestamp(stated);
    const blob = client.openBlob({ registry, repository }, config, { signal: options.signal });
    return timestamp(parseImageConfig(await readCapped(blob, maxManifestBytes, "the config")).created);
  } catch {
    options.signal?.throwIfAborted();
    return undefined;
  }
}

/** Only what is a time goes on to terminals. */
function timestamp(text: string | undefined): string | undefined {
  return text !== undefined && /^\d{4}-\d\d-\d\dT[\d:.]+(Z|[+-]\d\d:\d\d)$/.test(text) ? text : undefined;
}
