import { createRegistryClient } from "@ocid/registry";
import { type Descriptor, type DiffId, mediaTypes, parseDigest } from "@ocid/spec";
import { openStore } from "@ocid/storage";

// Fetches and unpacks a layer of a registry into a store and publishes it: a process of its own, for a test to kill.

const [root, registry, digest, size] = process.argv.slice(2) as [string, string, string, string];
const descriptor: Descriptor = {
  mediaType: mediaTypes.ociLayer,
  digest: parseDigest(digest),
  size: Number(size),
};
await using client = createRegistryClient({ tlsVerify: false });
await using store = await openStore({ root: `${root}/root`, runRoot: `${root}/run` });
const source = await client.blobSource({ registry, repository: "test/image", tag: "v1" }, descriptor);
// The layer is a plain tar.
await using staged = await store.stageLayer({ descriptor, source, diffId: descriptor.digest as DiffId });
await store.commitLayers([staged], []);
