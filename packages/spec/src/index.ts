export type {
  BlobSource,
  FileBlobSource,
  HttpBlobSource,
  StreamBlobSource,
  TlsOptions,
} from "./blob-source.ts";
export type { Descriptor } from "./descriptor.ts";
export {
  type ChainId,
  chainIds,
  type DiffId,
  type Digest,
  type DigestAlgorithm,
  digestAlgorithm,
  digestBytes,
  digestHex,
  finishDigest,
  parseDiffId,
  parseDigest,
} from "./digest.ts";
export type { ImageConfig, ImageExecution, ImageHistory } from "./image-config.ts";
export type { Platform } from "./platform.ts";
export type {
  RuntimeDevice,
  RuntimeIdMapping,
  RuntimeLinux,
  RuntimeMount,
  RuntimeProcess,
  RuntimeResources,
  RuntimeSeccomp,
  RuntimeSpec,
} from "./runtime-spec.ts";
