import { generateKeyPairSync, sign } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Digest, digestBytes, digestHex } from "@ocid/spec";
import { createMessage, generateKey, sign as signMessage } from "openpgp";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createLog, type Log } from "../test/signing-authority.ts";
import { copyImage } from "./copy-image.ts";
import { createDirectoryDestination, createDirectorySource } from "./directory-transport.ts";
import type { ImageSource } from "./image-source.ts";
import { parsePolicy } from "./policy.ts";
import type { ImageSignature } from "./signatures/image-signature.ts";
import { bundleAnnotation, signatureAnnotation } from "./signatures/sigstore-entity.ts";
import { makeTestImage, makeTestIndex } from "./testing/make-image.ts";

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "ocid-signed-"));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

const name = "a.test/b:1";

function payload(type: string, digest: Digest, reference = name, more = {}): Buffer {
  return Buffer.from(
    JSON.stringify({
      critical: {
        type,
        image: { "docker-manifest-digest": digest },
        identity: { "docker-reference": reference },
        ...more,
      },
      optional: { creator: "test" },
    }),
  );
}
const simple = (digest: Digest, reference?: string, more?: object) =>
  payload("atomic container signature", digest, reference, more);
const cosign = (digest: Digest, reference?: string) =>
  payload("cosign container image signature", digest, reference);

async function openPgpKey() {
  const { privateKey, publicKey } = await generateKey({ userIDs: [{ name: "test" }], format: "object" });
  return {
    keyData: Buffer.from(publicKey.write()).toString("base64"),
    armoured: Buffer.from(publicKey.armor()).toString("base64"),
    async sign(data: Buffer): Promise<ImageSignature> {
      const message = await createMessage({ binary: data });
      return {
        kind: "simple",
        message: (await signMessage({ message, signingKeys: privateKey, format: "binary" })) as Uint8Array,
      };
    },
  };
}

function sigstoreKey(type: "ec" | "ed25519" = "ec") {
  const { privateKey, publicKey } =
    type === "ec" ? generateKeyPairSync("ec", { namedCurve: "P-256" }) : generateKeyPairSync("ed25519");
  const pem = publicKey.export({ type: "spki", format: "pem" });
  return {
    privateKey,
    pem,
    keyData: Buffer.from(pem).toString("base64"),
    sign: (data: Buffer): ImageSignature & { kind: "sigstore" } => ({
      kind: "sigstore",
      payload: data,
      annotations: {
        [signatureAnnotation]: sign(type === "ec" ? "sha256" : null, data, privateKey).toString("base64"),
      },
    }),
  };
}

async function withSignatures(
  ...signatures: ((digest: Digest) => ImageSignature | Promise<ImageSignature>)[]
) {
  const image = await makeTestImage();
  return signed(image, image.manifest.descriptor.digest, signatures);
}

function signed(
  source: ImageSource,
  digest: Digest,
  signatures: readonly ((digest: Digest) => ImageSignature | Promise<ImageSignature>)[],
): ImageSource {
  return {
    ...source,
    identity: { transport: "docker", scopes: [name], reference: name },
    getSignatures: async asked =>
      asked === digest ? await Promise.all(signatures.map(make => make(digest))) : [],
  };
}

async function copyUnder(rule: object, source: ImageSource): Promise<void> {
  const policy = parsePolicy(Buffer.from(JSON.stringify({ default: [rule] })));
  await copyImage(source, createDirectoryDestination(join(directory, "copy")), { policy, platform: amd64 });
}
const amd64 = { os: "linux", architecture: "amd64" };
const denied = (message: string) => ({
  code: "PERMISSION_DENIED",
  message: expect.stringContaining(message),
});

describe("signedBy", () => {
  const rule = (keyData: string, more = {}) => ({ type: "signedBy", keyType: "GPGKeys", keyData, ...more });

  it("takes what the key has signed, binary or armoured", async () => {
    const key = await openPgpKey();
    const image = await withSignatures(digest => key.sign(simple(digest)));
    await copyUnder(rule(key.keyData), image);
    await copyUnder(rule(key.armoured), image);
  });

  it("refuses other keys, digests and names, no signature and what is not understood", async () => {
    const key = await openPgpKey();
    const other = await openPgpKey();
    const refuse = async (source: ImageSource, message: string) =>
      await expect(copyUnder(rule(key.keyData), source)).rejects.toMatchObject(denied(message));
    await refuse(await withSignatures(), "no such signature");
    await refuse(await withSignatures(digest => other.sign(simple(digest))), "not signed by any");
    await refuse(await withSignatures(() => key.sign(simple(digestBytes("other")))), "is over");
    await refuse(await withSignatures(digest => key.sign(simple(digest, "a.test/b:2"))), "a.test/b:2");
    await refuse(await withSignatures(digest => key.sign(simple(digest, name, { more: 1 }))), "unknown key");
    await refuse(await withSignatures(digest => key.sign(cosign(digest))), "is of type");
    await refuse(
      await withSignatures(digest => ({ kind: "simple", message: simple(digest) })),
      "not signed by any",
    );
    await refuse(await withSignatures(digest => sigstoreKey().sign(simple(digest))), "no such signature");
  });

  it("is content with one good signature among others", async () => {
    const key = await openPgpKey();
    const other = await openPgpKey();
    const image = await withSignatures(
      digest => other.sign(simple(digest)),
      digest => key.sign(simple(digest)),
    );
    await copyUnder(rule(key.keyData), image);
  });

  it("reads the signatures of a directory", async () => {
    const key = await openPgpKey();
    const image = await makeTestImage();
    await copyImage(image, createDirectoryDestination(directory));
    const signature = await key.sign(simple(image.manifest.descriptor.digest));
    writeFileSync(join(directory, "signature-1"), signature.kind === "simple" ? signature.message : "");
    const signedIdentity = { type: "exactReference", dockerReference: name };
    await copyUnder(rule(key.keyData, { signedIdentity }), createDirectorySource(directory));
    await expect(copyUnder(rule(key.keyData), createDirectorySource(directory))).rejects.toMatchObject(
      denied(name),
    );
  });

  it("takes a signature over the index for the images in it", async () => {
    const key = await openPgpKey();
    const index = makeTestIndex([{ image: await makeTestImage({ platform: amd64 }), platform: amd64 }]);
    const digest = index.manifest.descriptor.digest;
    await copyUnder(rule(key.keyData), signed(index, digest, [() => key.sign(simple(digest))]));
  });
});

describe("sigstoreSigned", () => {
  const rule = (keyData: string, more = {}) => ({ type: "sigstoreSigned", keyData, ...more });

  it.each(["ec", "ed25519"] as const)("takes what an %s key has signed", async type => {
    const key = sigstoreKey(type);
    await copyUnder(rule(key.keyData), await withSignatures(digest => key.sign(cosign(digest))));
    const other = sigstoreKey(type);
    await expect(
      copyUnder(rule(other.keyData), await withSignatures(digest => key.sign(cosign(digest)))),
    ).rejects.toMatchObject(denied("not signed by any"));
  });

  it("refuses a payload that was changed, and names that do not match", async () => {
    const key = sigstoreKey();
    const changed = await withSignatures(digest => ({
      ...key.sign(cosign(digestBytes("other"))),
      payload: cosign(digest),
    }));
    await expect(copyUnder(rule(key.keyData), changed)).rejects.toMatchObject(denied("not signed by any"));
    const repository = await withSignatures(digest => key.sign(cosign(digest, "a.test/b")));
    await expect(copyUnder(rule(key.keyData), repository)).rejects.toMatchObject(denied("a.test/b"));
    await copyUnder(rule(key.keyData, { signedIdentity: { type: "matchRepository" } }), repository);
  });

  it("wants the entry of the transparency log where a log is named", async () => {
    const key = sigstoreKey();
    const log = createLog();
    const logged = async (options: { by?: Log; payload?: Buffer; key?: string } = {}) =>
      await withSignatures(digest => {
        const made = key.sign(cosign(digest));
        const content = made.annotations[signatureAnnotation]!;
        const hash = digestHex(digestBytes(options.payload ?? made.payload));
        const publicKey = { content: Buffer.from(options.key ?? String(key.pem)).toString("base64") };
        const body = {
          apiVersion: "0.0.1",
          kind: "hashedrekord",
          spec: {
            data: { hash: { algorithm: "sha256", value: hash } },
            signature: { content, publicKey },
          },
        };
        const entry = JSON.stringify((options.by ?? log).enter(body, new Date(0)));
        return { ...made, annotations: { ...made.annotations, [bundleAnnotation]: entry } };
      });
    const both = rule(key.keyData, { rekorPublicKeyData: Buffer.from(log.pem).toString("base64") });
    await copyUnder(both, await logged());
    await expect(
      copyUnder(both, await withSignatures(digest => key.sign(cosign(digest)))),
    ).rejects.toMatchObject(denied("not in a transparency log"));
    await expect(copyUnder(both, await logged({ by: createLog() }))).rejects.toMatchObject(
      denied("inclusion promise"),
    );
    await expect(copyUnder(both, await logged({ payload: Buffer.from("x") }))).rejects.toMatchObject(
      denied("digest mismatch"),
    );
    await expect(copyUnder(both, await logged({ key: String(log.pem) }))).rejects.toMatchObject(
      denied("another key"),
    );
  });
});
