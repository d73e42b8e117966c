export { admitStoredImage } from "./admit-stored-image.ts";
export {
  type ArtifactFile,
  type ArtifactStore,
  createArtifactStore,
  type StoredArtifact,
} from "./artifact-store.ts";
export { findPartialBlobs, type PartialBlob } from "./blob-file.ts";
export type { AcceptedSignature } from "./check-signatures.ts";
export {
  type CompareOptions,
  type Comparison,
  type ComparisonRegistry,
  compareImage,
  type Damage,
  type Verdict,
} from "./compare-image.ts";
export { copyImageEvents } from "./copy-events.ts";
export { type CopyOptions, type CopyResult, copyImage } from "./copy-image.ts";
export type { CopySide } from "./copy-side.ts";
export { createDirectoryDestination, createDirectorySource } from "./directory-transport.ts";
export {
  createDockerArchiveDestination,
  createDockerArchiveWriter,
  type DockerArchiveWriter,
} from "./docker-archive-destination.ts";
export { listDockerArchive, openDockerArchiveSource } from "./docker-archive-source.ts";
export {
  createDockerDaemonDestination,
  type DockerDaemonOptions,
  openDockerDaemonSource,
} from "./docker-daemon-transport.ts";
export {
  type ConfigDifference,
  type DiffImagesOptions,
  diffImages,
  type ImageDifference,
} from "./files/diff-images.ts";
export type { FileAspect, FileDifference } from "./files/diff-trees.ts";
export type { FileEntry } from "./files/file-tree.ts";
export {
  type ImageFiles,
  type ImageFilesOptions,
  type ListedFile,
  openImageFiles,
} from "./files/image-files.ts";
export { type ImageName, parseImageName, referenceOf, type StoreLocation } from "./image-name.ts";
export type {
  BlobDestination,
  CallOptions,
  ImageSource,
  ManifestBytes,
  OpenBlobOptions,
  PolicyIdentity,
  PutBlobOptions,
  SignatureOptions,
  UnpackedLayers,
} from "./image-source.ts";
export { type ImportOptions, importImage } from "./import-image.ts";
export { type ImageInspection, inspectImage } from "./inspect-image.ts";
export type { LayerCompression, ManifestFormat } from "./layer-media-type.ts";
export { createLayoutDestination, createLayoutSource } from "./layout-transport.ts";
export { createOciArchiveDestination, openOciArchiveSource } from "./oci-archive-transport.ts";
export { createImageDestination, type ImageBackends, openImageSource } from "./open-image.ts";
export { type ImagePolicy, loadDefaultPolicy, loadPolicy, parsePolicy } from "./policy.ts";
export type { PolicyRequirement, SigstoreSigners } from "./policy-requirement.ts";
export type {
  ImageRecord,
  ImageStorePort,
  LayerRecord,
  PutImageRequest,
  StagedLayer,
  StageLayerRequest,
} from "./ports.ts";
export type { CopyProgress, OnProgress } from "./progress.ts";
export { type Referrer, type ReferrerKind, readReferrers } from "./read-referrers.ts";
export { createRegistryDestination, createRegistrySource } from "./registry-transport.ts";
export { type SignedImage, type SignOptions, signImage } from "./sign-image.ts";
export type { SignerIdentity } from "./signatures/certificate-authority.ts";
export type { ImageSignature } from "./signatures/image-signature.ts";
export type { KeySource } from "./signatures/key-source.ts";
export { loadSignatureStores, type SignatureStores } from "./signatures/registries-d.ts";
export type { SignedIdentity } from "./signatures/signed-identity.ts";
export { parseSigningKey } from "./signatures/signing-key.ts";
export { createStorageDestination, type StorageDestination, storedNames } from "./storage-destination.ts";
export { createStorageSource } from "./storage-source.ts";
export {
  type SignatureTrust,
  type VerifiedImage,
  type VerifySignatureOptions,
  verifySignature,
} from "./verify-signature.ts";
export { verifyStoredImage } from "./verify-stored-image.ts";
