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
import { createAuthority, createLog, signBundle, trustedRoot } from "./signing-authority.ts";

// Signatures that cosign makes in a real registry are taken and refused; those that we make, cosign and skopeo take.

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
    const pki = (more: object) => ({ pki: { caRootsPath, ...more }, ...matchRepository });
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
  ])(
    "made with %s is taken by cosign, by skopeo, and by ourselves for this name only",
    async (what, keyFile) => {
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
      const policy = join(root.path, "skopeo-policy.json");
      writeFileSync(policy, JSON.stringify({ default: [{ type: "sigstoreSigned", keyPath: publicKey }] }));
      const skopeo = ["--policy", policy, "--registries.d", stores, "copy", "--src-tls-verify=false"];
      await run("skopeo", [...skopeo, `docker://${image.tagged}`, `dir:${join(root.path, "skopeo")}`]);

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
    },
  );

  it("is not made with a key whose password is wrong", async () => {
    await expect(parseSigningKey(readFileSync(mine.key), async () => "wrong")).rejects.toMatchObject({
      code: "UNAUTHENTICATED",
      message: expect.not.stringContaining("wrong"),
    });
  });
});

describe("a bundle with a certificate", () => {
  it("is judged by a trusted root as cosign judges it", async () => {
    const authority = await createAuthority();
    const log = createLog();
    const signer = await authority.issue({ email: "me@a.test", oidcIssuer: "https://accounts.a.test" });
    const image = await push("certificate");
    const { document } = signBundle(signer, image.digest, { log });
    const bundleFile = join(cosign.directory, "bundle.json");
    writeFileSync(bundleFile, document);
    const rootFile = join(cosign.directory, "trusted_root.json");
    writeFileSync(rootFile, JSON.stringify(trustedRoot(authority, log)));
    await pushBundle(image.tagged, image.digest, document);

    const source = createRegistrySource(registry, parseReference(image.tagged));
    for (const [subject, issuer, accepted] of [
      ["me@a.test", "https://accounts.a.test", true],
      ["you@a.test", "https://accounts.a.test", false],
      ["me@a.test", "https://evil.test", false],
    ] as const) {
      const theirs = cosign.run(
        "verify",
        ...["--trusted-root", rootFile, "--certificate-identity", subject],
        ...["--certificate-oidc-issuer", issuer, "--insecure-ignore-sct", "--allow-http-registry"],
        image.pinned,
      );
      const ours = verifySignature(source, {
        kind: "certificate",
        trustedRoot: readFileSync(rootFile),
        subject,
        issuer,
      });
      if (accepted) {
        await theirs;
        expect(await ours).toEqual({ digest: image.digest, reference: undefined, pinned: image.pinned });
      } else {
        await expect(theirs).rejects.toThrow();
        await refuse(ours, subject === "you@a.test" ? "not for you@a.test" : "issuer");
      }
    }
  });
});

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
