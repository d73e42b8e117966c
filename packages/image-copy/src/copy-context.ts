import type { BlobDestination, CallOptions, ImageSource } from "./image-source.ts";
import type { LayerCompression, ManifestFormat } from "./layer-media-type.ts";
import type { ProgressMeter } from "./progress.ts";
import type { Spool } from "./spool.ts";

/** What all steps of one copy, blob by blob, share. */
export interface CopyContext extends CallOptions {
  readonly source: ImageSource;
  readonly destination: BlobDestination;
  readonly meter: ProgressMeter;
  readonly spool: Spool;
  /** What the manifests shall be. Undefined: what they are. */
  readonly format: ManifestFormat | undefined;
  readonly layerCompression: LayerCompression | undefined;
  readonly preserveDigests: boolean;
  /** Why manifests are not what they were, in words. */
  readonly changes: Set<string>;
}
