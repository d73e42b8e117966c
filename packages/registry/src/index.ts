export {
  type Artifact,
  type ArtifactBlob,
  type ArtifactToPush,
  fetchArtifact,
  pushArtifact,
} from "./artifacts.ts";
export type { CallOptions } from "./call-options.ts";
export { type Challenge, parseChallenges } from "./challenge.ts";
export {
  type AuthFileOptions,
  anonymous,
  authFileCredentials,
  type Credential,
  type CredentialSource,
  fixedCredential,
  parseCredentialPair,
} from "./credentials.ts";
export type { DeleteOptions } from "./delete-manifest.ts";
export type { Timeouts } from "./endpoint.ts";
export { findRegistry, isInsecure, type Location, pullLocations, resolveShortName } from "./locations.ts";
export { type Login, login, logout } from "./login.ts";
export type { FetchedManifest } from "./manifests.ts";
export type { OpenBlobOptions } from "./open-blob.ts";
export { bytesSource, type OpenFrom, type PushBlobOptions, type UploadJournal } from "./push-blob.ts";
export {
  type Environment,
  emptyRegistriesConf,
  loadRegistriesConf,
  type Mirror,
  parseRegistriesConf,
  type RegistriesConf,
  type RegistryEntry,
} from "./registries-conf.ts";
export { createRegistryClient, type RegistryClient, type RegistryClientOptions } from "./registry-client.ts";
export type { ListTagsOptions } from "./tags.ts";
