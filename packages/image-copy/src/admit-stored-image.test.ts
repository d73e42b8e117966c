import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Digest, digestHex, parseReference } from "@ocid/spec";
import { afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { createAuthority, type Signer, signAttached, signBundle } from "../test/signing-authority.ts";
import { admitStoredImage } from "./admit-stored-image.ts";
import { createArtifactStore } from "./artifact-store.ts";
import { copyImage } from "./copy-image.ts";
import type { ImageSource } from "./image-source.ts";
import { parsePolicy } from "./policy.ts";
import { registryIdentity } from "./policy-scopes.ts";
import type { ImageSignature } from "./signatures/image-signature.ts";
import { readStoredSignatures } from "./signatures/stored-signatures.ts";
import { createStorageDestination } from "./storage-destination.ts";
import { makeTestImage, makeTestIndex } from "./testing/make-image.ts";
import { createMemoryImageStore } from "./testing/memory-image-store.ts";

// What is in the store is judged again, by the signatures that came with it.

const name = "a.test/b:1";
const reference = parseReference(name);
const amd64 = { os: "linux", architecture: "amd64" };
const accept = { default: [{ type: "insecureAcceptAnything" }] };
const rejected = { code: "PERMISSION_DENIED", reason: "PolicyRejected" };
const policyOf = (document: object) => parsePolicy(Buffer.from(JSON.stringify(document)));
let signer: Signer;
let signedRule: object;
beforeAll(async () => {
  const authority = await createAuthority();
  signer = await authority.issue({ email: "me@a.test" });
  const data = (pem: string) => Buffer.from(pem).toString("base64");
  signedRule = {
    type: "sigstoreSigned",
    pki: {
      caRootsData: data(authority.rootPem),
      caIntermediatesData: data(authority.intermediatePem),
      subjectEmail: "me@a.test",
    },
  };
});

function signed(
  source: ImageSource,
  digest: Digest,
  signatures: (digest: Digest) => readonly ImageSignature[],
): ImageSource {
  const identity = registryIdentity(reference);
  return { ...source, identity, getSignatures: async asked => (asked === digest ? signatures(asked) : []) };
}

describe("admitStoredImage", () => {
  it.each([
    ["an attachment", (digest: Digest) => [signAttached(signer, digest, { reference: name })]],
    ["a bundle", (digest: Digest) => [signBundle(signer, digest, { reference: name })]],
  ])("knows %s that came with the image, and no other name for it", async (_, signatures) => {
    const store = createMemoryImageStore();
    const image = await makeTestImage();
    const source = signed(image, image.manifest.descriptor.digest, signatures);
    const copied = await copyImage(source, createStorageDestination(store, reference), {
      policy: policyOf({ default: [signedRule] }),
    });
    const stored = copied.image!;
    await admitStoredImage(store, stored, [reference], policyOf({ default: [signedRule] }));
    const other = parseReference("a.test/b:2");
    const refusal = admitStoredImage(store, stored, [other], policyOf({ default: [signedRule] }));
    await expect(refusal).rejects.toMatchObject(rejected);
    await admitStoredImage(store, stored, [other, reference], policyOf({ default: [signedRule] }));
    await admitStoredImage(store, stored, [other], policyOf(accept));
    await expect(
      admitStoredImage(store, stored, [reference], policyOf({ default: [{ type: "reject" }] })),
    ).rejects.toMatchObject(rejected);
  });

  it("knows signatures over the index through which the image was found", async () => {
    const store = createMemoryImageStore();
    const index = makeTestIndex([{ image: await makeTestImage({ platform: amd64 }), platform: amd64 }]);
    const source = signed(index, index.manifest.descriptor.digest, digest => [
      signAttached(signer, digest, { reference: name }),
    ]);
    const { image } = await copyImage(source, createStorageDestination(store, reference), {
      platform: amd64,
    });
    await admitStoredImage(store, image!, [reference], policyOf({ default: [signedRule] }));
  });

  it("judges an image without a name as what it is in local storage", async () => {
    const store = createMemoryImageStore();
    const { image } = await copyImage(await makeTestImage(), createStorageDestination(store));
    const policy = policyOf({
      default: [{ type: "reject" }],
      transports: { "containers-storage": { "": [{ type: "insecureAcceptAnything" }] } },
    });
    await admitStoredImage(store, image!, [], policy);
    await expect(admitStoredImage(store, image!, [reference], policy)).rejects.toMatchObject(rejected);
  });
});

describe("signatures of a stored image", () => {
  it("are kept as containers/image keeps them, and stay when the image is pulled again without", async () => {
    const store = createMemoryImageStore();
    const image = await makeTestImage();
    const { digest } = image.manifest.descriptor;
    const signatures = [signAttached(signer, digest, { reference: name }), signBundle(signer, digest)];
    const destination = createStorageDestination(store, reference);
    const pull = async (source: ImageSource) => (await copyImage(source, destination)).image!;
    const first = await pull(signed(image, digest, () => signatures));
    const metadata = JSON.parse(first.metadata!);
    expect(metadata["signature-sizes"]).toHaveLength(2);
    expect(metadata["signatures-sizes"][digest]).toEqual(metadata["signature-sizes"]);
    expect(first.bigDataNames.slice(-3)).toEqual([
      "manifest",
      "signatures",
      `signature-${digestHex(digest)}`,
    ]);
    const again = await pull(signed(image, digest, () => []));
    const more = await pull(signed(image, digest, () => signatures.slice(0, 1)));
    for (const record of [first, again, more])
      expect(await readStoredSignatures(store, record, digest)).toEqual(
        signatures.map(signature =>
          signature.kind === "bundle"
            ? { kind: "bundle", document: Buffer.from(signature.document) }
            : { ...signature, payload: Buffer.from(signature.payload) },
        ),
      );
  });

  it("do without a server that cannot be reached, unless the policy wants them", async () => {
    const store = createMemoryImageStore();
    const image = await makeTestImage();
    const source: ImageSource = {
      ...signed(image, image.manifest.descriptor.digest, () => []),
      getSignatures: async () => Promise.reject(new Error("the lookaside server is down")),
    };
    const destination = createStorageDestination(store, reference);
    await expect(
      copyImage(source, destination, { policy: policyOf({ default: [signedRule] }) }),
    ).rejects.toThrow("is down");
    expect(await store.listImages()).toEqual([]);
    await copyImage(source, destination, { policy: policyOf(accept) });
  });
});

describe("an artifact", () => {
  let directory: string;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), "ocid-artifacts-"));
  });
  afterEach(() => rmSync(directory, { recursive: true }));

  it("is judged again by the signatures that came with it, which go when it goes", async () => {
    const store = createArtifactStore(directory);
    const image = await makeTestImage();
    const { digest } = image.manifest.descriptor;
    const source = signed(image, digest, () => [signBundle(signer, digest, { reference: name })]);
    const policy = policyOf({ default: [signedRule] });
    await store.put(source, name, { policy });
    await store.admit(name, policy);
    await expect(store.admit(name, policyOf({ default: [{ type: "reject" }] }))).rejects.toMatchObject(
      rejected,
    );
    expect(readdirSync(join(directory, "signatures"))).toEqual([digestHex(digest)]);
    await store.remove([name]);
    expect(readdirSync(join(directory, "signatures"))).toEqual([]);
    const unsigned = signed(image, digest, () => []);
    await expect(store.put(unsigned, name, { policy })).rejects.toMatchObject(rejected);
    expect(await store.list()).toEqual([]);
  });
});
