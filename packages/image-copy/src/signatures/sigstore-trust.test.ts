import { createPublicKey, X509Certificate } from "node:crypto";
import { digestBytes } from "@ocid/spec";
import { beforeAll, describe, expect, it } from "vitest";
import {
  createAuthority,
  createLog,
  type Leaf,
  type Log,
  type Signer,
  type SigningOptions,
  signAttached,
  signBundle,
  trustedRoot,
} from "../../test/signing-authority.ts";
import type { SignerIdentity } from "./certificate-authority.ts";
import type { ImageSignature } from "./image-signature.ts";
import { parseTrustedRoot, type SigstoreTrust, verifySigstoreSignature } from "./sigstore-trust.ts";

// Signatures by certificate: an authority and a log of the test's own say yes and no as Fulcio and Rekor would.

const digest = digestBytes("manifest");
const day = 86_400_000;
const me: Leaf = { email: "me@a.test", oidcIssuer: "https://accounts.a.test" };
const identity: SignerIdentity = { email: "me@a.test", issuer: "https://accounts.a.test" };

let authority: Awaited<ReturnType<typeof createAuthority>>;
let log: Log;
let signer: Signer;
beforeAll(async () => {
  authority = await createAuthority();
  log = createLog();
  signer = await authority.issue(me);
});

type Certificates = Extract<SigstoreTrust, { kind: "certificates" }>;
function trust(more: Partial<Certificates> = {}): Certificates {
  return {
    kind: "certificates",
    roots: [new X509Certificate(authority.rootPem)],
    intermediates: [],
    identity,
    logKeys: [createPublicKey(log.pem)],
    ...more,
  };
}
function withIntermediate(more: Partial<Certificates> = {}): Certificates {
  return trust({ intermediates: [new X509Certificate(authority.intermediatePem)], ...more });
}
const refuse = (signature: Exclude<ImageSignature, { kind: "simple" }>, by: SigstoreTrust, why: string) =>
  expect(() => verifySigstoreSignature(signature, by)).toThrow(
    expect.objectContaining({ code: "PERMISSION_DENIED", message: expect.stringContaining(why) }),
  );

describe.each([
  ["an attached signature", (by: Signer, options: SigningOptions) => signAttached(by, digest, options)],
  ["a bundle", (by: Signer, options: SigningOptions) => signBundle(by, digest, options)],
] as const)("%s", (_, make) => {
  it("counts when its certificate names the right one and its log promises it", () => {
    expect(
      verifySigstoreSignature(make(signer, { log, reference: "a.test/b:1" }), withIntermediate()),
    ).toEqual({
      manifestDigest: digest,
      reference: "a.test/b:1",
    });
  });

  it("counts when its certificate was valid at the time of the log, and not when it was not", async () => {
    const notBefore = new Date(Date.now() - 30 * day);
    const notAfter = new Date(notBefore.getTime() + 600_000);
    const expired = await authority.issue({ ...me, notBefore, notAfter });
    verifySigstoreSignature(
      make(expired, { log, at: new Date(notBefore.getTime() + 1000) }),
      withIntermediate(),
    );
    for (const at of [new Date(), new Date(notBefore.getTime() - day), new Date(notAfter.getTime() + 1000)])
      refuse(make(expired, { log, at }), withIntermediate(), "not valid or expired");
  });

  it("is refused of another identity, issuer, authority, log, key and usage", async () => {
    const issue = async (leaf: Leaf) => make(await authority.issue({ ...me, ...leaf }), { log });
    refuse(await issue({ email: "you@a.test" }), withIntermediate(), "not for me@a.test");
    refuse(await issue({ email: "me@a.test.evil.test" }), withIntermediate(), "not for me@a.test");
    refuse(await issue({ oidcIssuer: "https://evil.test" }), withIntermediate(), "issuer=https://evil.test");
    refuse(await issue({ usage: "1.3.6.1.5.5.7.3.1" }), withIntermediate(), "not for signing");
    const stranger = await (await createAuthority()).issue(me);
    refuse(make(stranger, { log }), withIntermediate(), "certificate chain");
    refuse(make(signer, { log: createLog() }), withIntermediate(), "inclusion promise");
    refuse(make(signer, {}), withIntermediate(), "not in a transparency log");
    const other = await authority.issue(me);
    refuse(make(signer, { log, loggedSigner: other.certificate }), withIntermediate(), "another key");
    refuse(make({ ...signer, key: other.key }, { log }), withIntermediate(), "signature verification failed");
  });

  it("is of a key only where keys are asked for", () => {
    const own = createPublicKey(
      new X509Certificate(signer.certificate).publicKey.export({ type: "spki", format: "pem" }),
    );
    const keys = { kind: "keys", keys: [own], logKeys: undefined } as const;
    expect(verifySigstoreSignature(make(signer, { log }), keys).manifestDigest).toBe(digest);
    refuse(
      make(signer, { log }),
      { ...keys, keys: [createPublicKey(log.pem)] },
      "not signed by any of the keys",
    );
    verifySigstoreSignature(make(signer, { log }), { ...keys, logKeys: [createPublicKey(log.pem)] });
    refuse(make(signer, { log: createLog() }), { ...keys, logKeys: [createPublicKey(log.pem)] }, "promise");
  });

  it("is held against a trusted root without a network", async () => {
    const material = parseTrustedRoot(Buffer.from(JSON.stringify(trustedRoot(authority, log))));
    const uri = "https://ci.test/team/app/.github/workflows/release.yml@refs/heads/main";
    const builder = await authority.issue({ uri, oidcIssuer: me.oidcIssuer! });
    const by = (subject: string, issuer = me.oidcIssuer!): SigstoreTrust => ({
      kind: "root",
      material,
      identity: { subject, issuer },
    });
    verifySigstoreSignature(make(signer, { log }), by("me@a.test"));
    verifySigstoreSignature(make(builder, { log }), by(uri));
    refuse(make(builder, { log }), by(`${uri}x`), "not for");
    refuse(make(builder, { log }), by(uri, "https://evil.test"), "issuer");
    refuse(make(signer, { log: createLog() }), by("me@a.test"), "promise");
    refuse(make(signer, {}), by("me@a.test"), "timestamps");
  });

  it("needs no log with an authority of one's own, but a certificate that is valid now", async () => {
    const pki = (more: SignerIdentity) => withIntermediate({ logKeys: undefined, identity: more });
    const host = await authority.issue({ hostname: "build.a.test" });
    verifySigstoreSignature(make(host, {}), pki({ hostname: "build.a.test" }));
    verifySigstoreSignature(make(signer, {}), pki({ email: "me@a.test" }));
    refuse(make(host, {}), pki({ hostname: "other.a.test" }), "not for other.a.test");
    refuse(make(host, {}), pki({ hostname: "build.a.test", email: "me@a.test" }), "not for me@a.test");
    const expired = await authority.issue({
      hostname: "build.a.test",
      notAfter: new Date(Date.now() - 1000),
    });
    refuse(make(expired, {}), pki({ hostname: "build.a.test" }), "expired");
  });
});

describe("certificates that come with a signature", () => {
  it("lead to a trusted root, and are never trusted themselves", async () => {
    verifySigstoreSignature(signAttached(signer, digest, { log }), trust());
    const { "dev.sigstore.cosign/chain": _, ...annotations } = signAttached(signer, digest, {
      log,
    }).annotations;
    refuse({ ...signAttached(signer, digest, { log }), annotations }, trust(), "certificate chain");
    // Its own root comes along, with the very name of the trusted one.
    const stranger = await (await createAuthority()).issue(me);
    refuse(signAttached(stranger, digest, { log }), trust(), "certificate chain");
    // An ordinary certificate is no authority, whoever has issued it.
    refuse(
      signAttached({ ...stranger, chain: signer.certificate + signer.chain }, digest, { log }),
      trust(),
      "certificate chain",
    );
  });
});

describe("a bundle", () => {
  it("is a signature only with cosign's statement, not with a bill of materials", () => {
    refuse(
      signBundle(signer, digest, { log, predicateType: "https://spdx.dev/Document" }),
      withIntermediate(),
      "no signature",
    );
  });

  it.each(["{}", "[]", "x", '{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json"}'])(
    "cannot be %s",
    text => {
      expect(() =>
        verifySigstoreSignature({ kind: "bundle", document: Buffer.from(text) }, withIntermediate()),
      ).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
    },
  );

  it("is refused when a byte of it changes", () => {
    const { document } = signBundle(signer, digest, { log });
    const text = Buffer.from(document).toString();
    const { payload } = JSON.parse(text).dsseEnvelope as { payload: string };
    const other = Buffer.from(
      Buffer.from(payload, "base64").toString().replace(digest.slice(7), digestBytes("other").slice(7)),
    );
    refuse(
      { kind: "bundle", document: Buffer.from(text.replaceAll(payload, other.toString("base64"))) },
      withIntermediate(),
      "",
    );
  });
});
