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
export { findRegistry, isInsecure, type Location, pullLocations, resolveShortName } from "./locations.ts";
export {
  emptyRegistriesConf,
  loadRegistriesConf,
  type Mirror,
  parseRegistriesConf,
  type RegistriesConf,
  type RegistryEntry,
} from "./registries-conf.ts";
export {
  type CallOptions,
  createRegistryClient,
  type FetchedManifest,
  type RegistryClient,
  type RegistryClientOptions,
} from "./registry-client.ts";
