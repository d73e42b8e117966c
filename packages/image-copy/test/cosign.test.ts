import { execFile } from "node:child_process";
import { createPublicKey } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { bytesSource, createRegistryClient, pushArtifact, type RegistryClient } from "@ocid/registry";
import { type Digest, digestBytes, parseReference } from "@ocid/spec";
import { type Cosign, type DockerRegistry, openCosign, startDockerRegistry, tempRoot } from "@ocid/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  copyImage,
  createDirectoryDestination,
  createRegistryDestination,
  createRegistrySource,
  loadSignatureStores,
  parsePolicy,
  parseSigningKey,
  signImage,
  verifySignature,
} from "../src/index.ts";
import { makeTestImage } from "../src/testing/index.ts";
import {
  type AttachedSignature,
  createAuthority,
  createLog,
  signAttached,
  signBundle,
  trustedRoot,
} from "./signing-authority.ts";

// Signatures that cosign makes in a real registry are taken and refused; those that we make, cosign takes.

const root = tempRoot("ocid-cosign-");
const run = promisify(execFile);
const offline = ["--allow-http-registry", "--use-signing-config=false", "--tlog-upload=false", "-y"];
const old = [...offline, "--new-bundle-format=false"];
const ignoreLog = ["--allow-http-registry", "--insecure-ignore-tlog"];
const stores = join(root.path, "registries.d");
const matchRepository = { signedIdentity: { type: "matchRepository" } };
let dockerRegistry: DockerRegistry;
let registry: RegistryClient;
let cosign: Cosign;
let mine: Awaited<ReturnType<Cosign["makeKey"]>>;
let other: Awaited<ReturnType<Cosign["makeKey"]>>;

beforeAll(async () => {
  dockerRegistry = await startDockerRegistry({ directory: root.path });
  registry = createRegistryClient({ tlsVerify: false });
  cosign = openCosign();
  mine = await cosign.makeKey("mine");
  other = await cosign.makeKey("other");
  mkdirSync(stores);
  writeFileSync(join(stores, "test.yaml"), "default-docker:\n  use-sigstore-attachments: true\n");
});

afterAll(async () => {
  cosign[Symbol.dispose]();
  await registry[Symbol.asyncDispose]();
  await dockerRegistry[Symbol.asyncDispose]();
  root.remove();
});

/** Pushes an image of its own; returns its name and digest. */
async function push(
  name: string,
): Promise<{ readonly tagged: string; readonly pinned: string; digest: Digest }> {
  const repository = `${dockerRegistry.host}/test/${name}`;
  const image = await makeTestImage({ layers: [{ files: { name } }] });
  const { digest } = await copyImage(
    image,
    createRegistryDestination(registry, parseReference(`${repository}:1`)),
  );
  return { tagged: `${repository}:1`, pinned: `${repository}@${digest}`, digest };
}

async function pull(name: string, rule: object, directory?: string): Promise<void> {
  const source = createRegistrySource(
    registry,
    parseReference(name),
    await loadSignatureStores(directory ?? join(root.path, "none")),
  );
  const policy = parsePolicy(Buffer.from(JSON.stringify({ default: [{ type: "sigstoreSigned", ...rule }] })));
  await copyImage(source, createDirectoryDestination(join(root.path, "pulled")), { policy });
}
const refuse = async (work: Promise<unknown>, why: string) =>
  await expect(work).rejects.toMatchObject({
    code: "PERMISSION_DENIED",
    reason: "PolicyRejected",
    message: expect.stringContaining(why),
  });

describe("an image that cosign has signed", () => {
  it("is found signed by the bundle that refers to it, in a registry that lists no referrers", async () => {
    const image = await push("bundle");
    await cosign.run("sign", "--key", mine.key, ...offline, image.pinned);
    const rule = { keyPath: mine.publicKey };
    await pull(image.tagged, { ...rule, ...matchRepository });
    await refuse(pull(image.tagged, { keyPath: other.publicKey, ...matchRepository }), "not signed by any");
    await refuse(pull(image.tagged, rule), "a bundle names no image");
    await refuse(
      pull(image.tagged, { ...rule, rekorPublicKeyPath: other.publicKey, ...matchRepository }),
      "not in a transparency log",
    );
    const no = join(root.path, "no.d");
    mkdirSync(no, { recursive: true });
    writeFileSync(join(no, "no.yaml"), "default-docker:\n  use-sigstore-attachments: false\n");
    await refuse(pull(image.tagged, { ...rule, ...matchRepository }, no), "no such signature");
  });

  it("is found signed by what is attached to it, where registries.d says so", async () => {
    const image = await push("attached");
    await cosign.run("sign", "--key", mine.key, ...old, image.pinned);
    const rule = { keyPath: mine.publicKey, ...matchRepository };
    await pull(image.tagged, rule, stores);
    await refuse(pull(image.tagged, rule), "no such signature");
    await refuse(pull(image.tagged, { ...rule, keyPath: other.publicKey }, stores), "not signed by any");
    await refuse(pull(image.tagged, { keyPath: mine.publicKey }, stores), "is for");
  });

  it("lends its signatures to no other image, and not to another repository", async () => {
    const image = await push("lender");
    await cosign.run("sign", "--key", mine.key, ...old, image.pinned);
    const stranger = await push("borrower");
    const attachment = ({ digest }: { digest: Digest }) => `${digest.replace(":", "-")}.sig`;
    const copy = async (from: string, to: string) =>
      await copyImage(
        createRegistrySource(registry, parseReference(from)),
        createRegistryDestination(registry, parseReference(to)),
      );
    const lender = `${dockerRegistry.host}/test/lender`;
    const borrower = `${dockerRegistry.host}/test/borrower`;
    await copy(`${lender}:${attachment(image)}`, `${borrower}:${attachment(stranger)}`);
    const rule = { keyPath: mine.publicKey, ...matchRepository };
    await refuse(pull(stranger.tagged, rule, stores), `is over ${image.digest}, not ${stranger.digest}`);
    await copy(image.tagged, `${borrower}:2`);
    await copy(`${lender}:${attachment(image)}`, `${borrower}:${attachment(image)}`);
    await refuse(pull(`${borrower}:2`, rule, stores), `is for "${lender}"`);
  });

  it("is refused without any signature", async () => {
    const image = await push("unsigned");
    await refuse(
      pull(image.tagged, { keyPath: mine.publicKey, ...matchRepository }, stores),
      "no such signature",
    );
  });

  it("is signed by the certificate of an authority of one's own", async () => {
    const authority = await createAuthority();
    const signer = await authority.issue({ email: "me@a.test" });
    const file = (name: string, content: string | Buffer) => {
      const path = join(cosign.directory, name);
      writeFileSync(path, content);
      return path;
    };
    const plain = file("signer.pem", signer.key.export({ type: "pkcs8", format: "pem" }));
    await cosign.run("import-key-pair", "--key", plain, "--output-key-prefix", "signer");
    const image = await push("pki");
    await cosign.run(
      "sign",
      ...["--key", join(cosign.directory, "signer.key")],
      ...["--certificate", file("certificate.pem", signer.certificate)],
      ...["--certificate-chain", file("chain.pem", signer.chain)],
      ...old,
      image.pinned,
    );
    const caRootsPath = file("root.pem", authority.rootPem);
    // Cosign 3 attaches no chain.
    const caIntermediatesPath = file("intermediate.pem", authority.intermediatePem);
    const pki = (more: object) => ({
      pki: { caRootsPath, caIntermediatesPath, ...more },
      ...matchRepository,
    });
    await pull(image.tagged, pki({ subjectEmail: "me@a.test" }), stores);
    await refuse(pull(image.tagged, pki({ subjectEmail: "you@a.test" }), stores), "not for you@a.test");
    const otherRoot = file("other-root.pem", (await createAuthority()).rootPem);
    await refuse(
      pull(image.tagged, pki({ subjectEmail: "me@a.test", caRootsPath: otherRoot }), stores),
      "certificate chain",
    );
  });
});

describe("a signature of ours", () => {
  it.each([
    ["cosign's encrypted key", () => mine.key],
    ["an encrypted key in PKCS #8", () => join(cosign.directory, "pkcs8.key")],
  ])("made with %s is taken by cosign, and by ourselves for this name only", async (what, keyFile) => {
    await run("openssl", [
      ...["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-aes256"],
      ...["-pass", `pass:${cosign.password}`, "-out", join(cosign.directory, "pkcs8.key")],
    ]);
    const pem = readFileSync(keyFile());
    const key = await parseSigningKey(pem, async () => cosign.password);
    const publicKey = join(cosign.directory, "ours.pub");
    writeFileSync(publicKey, createPublicKey(key).export({ type: "spki", format: "pem" }));
    const image = await push(what.includes("cosign") ? "ours" : "ours-pkcs8");
    const { digest } = await signImage(registry, parseReference(image.tagged), key);
    expect(digest).toBe(image.digest);

    await cosign.run("verify", "--key", publicKey, ...ignoreLog, image.pinned);
    await cosign.run("verify", "--key", publicKey, ...ignoreLog, "--new-bundle-format=false", image.pinned);
    await expect(
      cosign.run("verify", "--key", other.publicKey, ...ignoreLog, image.pinned),
    ).rejects.toThrow();

    // By the bundle alone, and by the attachment too: each names the image.
    await pull(image.tagged, { keyPath: publicKey });
    await pull(image.tagged, { keyPath: publicKey }, stores);
    const { registry: host, repository } = parseReference(image.tagged);
    await copyImage(
      createRegistrySource(registry, parseReference(image.tagged)),
      createRegistryDestination(registry, { registry: host, repository, tag: "2" }),
    );
    await refuse(
      pull(image.tagged.replace(/:1$/, ":2"), { keyPath: publicKey }, stores),
      `is for "${image.tagged}"`,
    );
  });

  it("is not made with a key whose password is wrong", async () => {
    await expect(parseSigningKey(readFileSync(mine.key), async () => "wrong")).rejects.toMatchObject({
      code: "UNAUTHENTICATED",
      message: expect.not.stringContaining("wrong"),
    });
  });
});

describe("a signature by certificate", () => {
  it("is judged as cosign judges it, attached or as a bundle", async () => {
    const authority = await createAuthority();
    const log = createLog();
    const file = (name: string, content: string) => {
      const path = join(cosign.directory, name);
      writeFileSync(path, content);
      return path;
    };
    const material = [
      ...["--ca-roots", file("ca.pem", authority.rootPem)],
      ...["--ca-intermediates", file("intermediates.pem", authority.intermediatePem)],
      ...["--insecure-ignore-sct", "--new-bundle-format=false", "--offline", "--allow-http-registry"],
    ];
    cosign.env["SIGSTORE_REKOR_PUBLIC_KEY"] = file("rekor.pub", log.pem);
    const day = 86_400_000;
    const long = { notBefore: new Date(Date.now() - 30 * day), notAfter: new Date(Date.now() - 29 * day) };
    const me = { email: "me@a.test", oidcIssuer: "https://accounts.a.test" };
    const rule = {
      fulcio: { caPath: join(cosign.directory, "ca.pem"), subjectEmail: me.email, oidcIssuer: me.oidcIssuer },
      rekorPublicKeyPath: join(cosign.directory, "rekor.pub"),
    };
    const root = Buffer.from(JSON.stringify(trustedRoot(authority, log)));
    for (const [at, what, leaf, logged, why] of [
      [0, "valid", me, { log }, undefined],
      [1, "expired since", { ...me, ...long }, { log, at: new Date(Date.now() - 29.5 * day) }, undefined],
      [2, "expired", { ...me, ...long }, { log }, "not valid or expired"],
      [3, "of another person", { ...me, email: "you@a.test" }, { log }, "not for me@a.test"],
      [4, "of another issuer", { ...me, oidcIssuer: "https://evil.test" }, { log }, "issuer"],
      [5, "of another log", me, { log: createLog() }, "promise"],
    ] as const) {
      const image = await push(`certificate-${at}`);
      const signer = await authority.issue(leaf);
      const attached = signAttached(signer, image.digest, { ...logged, reference: image.tagged });
      await pushAttached(image.tagged, image.digest, attached);
      await pushBundle(image.tagged, image.digest, signBundle(signer, image.digest, logged).document);
      const theirs = cosign.run(
        ...["verify", "--certificate-identity", me.email, "--certificate-oidc-issuer", me.oidcIssuer],
        ...[...material, image.pinned],
      );
      const source = createRegistrySource(registry, parseReference(image.tagged));
      const byRoot = () =>
        verifySignature(source, {
          kind: "certificate",
          trustedRoot: root,
          subject: me.email,
          issuer: me.oidcIssuer,
        });
      // The attachment brings its intermediate along, the bundle names it nowhere.
      if (why === undefined) {
        await expect(theirs, what).resolves.toBeDefined();
        await pull(image.tagged, rule, stores);
        expect(await byRoot()).toEqual({ digest: image.digest, reference: undefined, pinned: image.pinned });
      } else {
        await expect(theirs, what).rejects.toThrow();
        await refuse(pull(image.tagged, rule, stores), why);
        await refuse(byRoot(), why);
      }
    }
  });
});

async function pushAttached(name: string, digest: Digest, signature: AttachedSignature): Promise<void> {
  const { registry: host, repository } = parseReference(name);
  const reference = { registry: host, repository, tag: `${digest.replace(":", "-")}.sig` };
  const put = async (mediaType: string, bytes: Uint8Array) => {
    const descriptor = { mediaType, digest: digestBytes(bytes), size: bytes.byteLength };
    await registry.pushBlob(reference, descriptor, bytesSource(bytes));
    return descriptor;
  };
  const layer = await put("application/vnd.dev.cosign.simplesigning.v1+json", signature.payload);
  const rootfs = { type: "layers", diff_ids: [layer.digest] };
  const config = Buffer.from(JSON.stringify({ architecture: "", os: "", config: {}, rootfs }));
  const mediaType = "application/vnd.oci.image.manifest.v1+json";
  const manifest = {
    schemaVersion: 2,
    mediaType,
    config: await put("application/vnd.oci.image.config.v1+json", config),
    layers: [{ ...layer, annotations: signature.annotations }],
  };
  await registry.pushManifest(reference, Buffer.from(JSON.stringify(manifest)), mediaType);
}

async function pushBundle(name: string, digest: Digest, document: Uint8Array): Promise<void> {
  const { registry: host, repository } = parseReference(name);
  const type = "application/vnd.dev.sigstore.bundle.v0.3+json";
  const subject = await registry.resolve({ registry: host, repository, digest });
  const descriptor = { mediaType: type, digest: digestBytes(document), size: document.byteLength };
  await pushArtifact(
    registry,
    { registry: host, repository },
    {
      artifactType: type,
      blobs: [{ descriptor, open: bytesSource(document) }],
      subject,
      annotations: {
        "dev.sigstore.bundle.content": "dsse-envelope",
        "dev.sigstore.bundle.predicateType": "https://sigstore.dev/cosign/sign/v1",
      },
    },
  );
}
