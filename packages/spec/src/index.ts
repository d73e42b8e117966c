export type {
  BlobSource,
  FileBlobSource,
  HttpBlobSource,
  StreamBlobSource,
  TlsOptions,
} from "./blob-source.ts";
export { isSliceName, parseSystemdCgroup, type SystemdCgroup, sliceDirectory } from "./cgroups-path.ts";
export { type Descriptor, parseDescriptor } from "./descriptor.ts";
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
export {
  choosePlatform,
  type ImageIndex,
  type ImageManifest,
  isImageDescriptor,
  type ParsedManifest,
  parseManifest,
} from "./manifest.ts";
export {
  isDockerType,
  isForeignLayer,
  isIndexType,
  isManifestType,
  manifestAccept,
  mediaTypes,
} from "./media-types.ts";
export { mergeResources } from "./merge-resources.ts";
export { parseImageConfig } from "./parse-image-config.ts";
export { Fields, isObject, maxManifestBytes, parseJsonObject } from "./parse-json.ts";
export {
  bestPlatform,
  currentPlatform,
  formatPlatform,
  type Platform,
  parsePlatform,
  platformFits,
} from "./platform.ts";
export {
  formatReference,
  isShortName,
  isTag,
  parseReference,
  type Reference,
  referenceName,
} from "./reference.ts";
export type {
  RuntimeDevice,
  RuntimeIdMapping,
  RuntimeLinux,
  RuntimeMount,
  RuntimeProcess,
  RuntimeResources,
  RuntimeScheduler,
  RuntimeSeccomp,
  RuntimeSpec,
} from "./runtime-spec.ts";
export { type Expected, verifyBytes, verifyStream } from "./verify.ts";
