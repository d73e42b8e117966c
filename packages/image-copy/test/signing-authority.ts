// The certificate library wants it first.
import "reflect-metadata";
import { createHash, generateKeyPairSync, KeyObject, sign, webcrypto } from "node:crypto";
import type { Digest } from "@ocid/spec";
import {
  BasicConstraintsExtension,
  cryptoProvider,
  ExtendedKeyUsageExtension,
  Extension,
  KeyUsageFlags,
  KeyUsagesExtension,
  SubjectAlternativeNameExtension,
  X509Certificate,
  X509CertificateGenerator,
} from "@peculiar/x509";
import { dsse } from "@sigstore/core";
import type { ImageSignature } from "../src/index.ts";

cryptoProvider.set(webcrypto as Crypto);

const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
const codeSigning = "1.3.6.1.5.5.7.3.3";
const day = 86_400_000;

export type AttachedSignature = Extract<ImageSignature, { kind: "sigstore" }>;

/** Whom a certificate is for, and when; valid today if nothing else is said. */
export interface Leaf {
  readonly email?: string;
  readonly uri?: string;
  readonly hostname?: string;
  readonly oidcIssuer?: string;
  readonly notBefore?: Date;
  readonly notAfter?: Date;
  readonly usage?: string;
}

export interface Signer {
  readonly key: KeyObject;
  /** PEM of its certificate, and of the authorities above it from below. */
  readonly certificate: string;
  readonly chain: string;
}

interface Ca {
  readonly certificate: X509Certificate;
  readonly keys: webcrypto.CryptoKeyPair;
}

/** A certificate authority of a test's own, root and intermediate, in the place of Fulcio or a company's PKI. */
export async function createAuthority(name = "test") {
  const generate = async () => await webcrypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
  const validity = {
    notBefore: new Date(Date.now() - 3650 * day),
    notAfter: new Date(Date.now() + 3650 * day),
  };
  const ca = [
    new BasicConstraintsExtension(true, undefined, true),
    new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
  ];
  const rootKeys = await generate();
  const root: Ca = {
    keys: rootKeys,
    certificate: await X509CertificateGenerator.createSelfSigned({
      name: `CN=${name} root`,
      keys: rootKeys,
      signingAlgorithm: algorithm,
      extensions: ca,
      ...validity,
    }),
  };
  const middleKeys = await generate();
  const middle: Ca = {
    keys: middleKeys,
    certificate: await X509CertificateGenerator.create({
      subject: `CN=${name} intermediate`,
      issuer: root.certificate.subject,
      publicKey: middleKeys.publicKey,
      signingKey: root.keys.privateKey,
      signingAlgorithm: algorithm,
      extensions: ca,
      ...validity,
    }),
  };
  const pem = (certificate: X509Certificate) => `${certificate.toString("pem")}\n`;
  return {
    rootPem: pem(root.certificate),
    rootDer: Buffer.from(root.certificate.rawData),
    intermediatePem: pem(middle.certificate),
    intermediateDer: Buffer.from(middle.certificate.rawData),
    async issue(leaf: Leaf): Promise<Signer> {
      const keys = await generate();
      const names = [
        ...(leaf.email ? [{ type: "email" as const, value: leaf.email }] : []),
        ...(leaf.uri ? [{ type: "url" as const, value: leaf.uri }] : []),
        ...(leaf.hostname ? [{ type: "dns" as const, value: leaf.hostname }] : []),
      ];
      const issuer = leaf.oidcIssuer === undefined ? undefined : Buffer.from(leaf.oidcIssuer);
      const certificate = await X509CertificateGenerator.create({
        subject: "CN=signer",
        issuer: middle.certificate.subject,
        publicKey: keys.publicKey,
        signingKey: middle.keys.privateKey,
        signingAlgorithm: algorithm,
        notBefore: leaf.notBefore ?? new Date(Date.now() - day),
        notAfter: leaf.notAfter ?? new Date(Date.now() + day),
        extensions: [
          new BasicConstraintsExtension(false),
          new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
          new ExtendedKeyUsageExtension([leaf.usage ?? codeSigning]),
          new SubjectAlternativeNameExtension(names),
          ...(issuer
            ? [
                new Extension("1.3.6.1.4.1.57264.1.1", false, issuer),
                new Extension(
                  "1.3.6.1.4.1.57264.1.8",
                  false,
                  Buffer.concat([Buffer.of(0x0c, issuer.length), issuer]),
                ),
              ]
            : []),
        ],
      });
      return {
        key: KeyObject.from(keys.privateKey as never),
        certificate: pem(certificate),
        chain: pem(middle.certificate) + pem(root.certificate),
      };
    },
  };
}

/** A transparency log of a test's own, in the place of Rekor: it promises whatever it is asked to, at any time. */
export function createLog() {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const der = publicKey.export({ type: "spki", format: "der" });
  const logID = createHash("sha256").update(der).digest("hex");
  return {
    pem: String(publicKey.export({ type: "spki", format: "pem" })),
    der,
    logID,
    /** An entry for a body, as Rekor answers with it. */
    enter(body: object, at: Date) {
      const Payload = {
        body: Buffer.from(JSON.stringify(body)).toString("base64"),
        integratedTime: Math.floor(at.getTime() / 1000),
        logIndex: 0,
        logID,
      };
      const promise = sign(
        "sha256",
        Buffer.from(JSON.stringify(Payload, Object.keys(Payload).sort())),
        privateKey,
      );
      return { Payload, SignedEntryTimestamp: promise.toString("base64") };
    },
    /** The proof that it is a log's only entry, which bundles carry beside the promise. */
    prove(body: string) {
      const leaf = Buffer.concat([Buffer.of(0), Buffer.from(body, "base64")]);
      const rootHash = createHash("sha256").update(leaf).digest("base64");
      const note = `log.test\n1\n${rootHash}\n`;
      const signature = Buffer.concat([
        Buffer.from(logID, "hex").subarray(0, 4),
        sign("sha256", Buffer.from(note), privateKey),
      ]);
      const envelope = `${note}\n\u2014 log.test ${signature.toString("base64")}\n`;
      return { logIndex: "0", rootHash, treeSize: "1", hashes: [], checkpoint: { envelope } };
    },
  };
}

export type Log = ReturnType<typeof createLog>;

export interface SigningOptions {
  readonly reference?: string | undefined;
  readonly log?: Log | undefined;
  /** When the log took it in. */
  readonly at?: Date | undefined;
  /** PEM that the log's entry names instead of the signer's. */
  readonly loggedSigner?: string | undefined;
}

const base64 = (text: string | Buffer) => Buffer.from(text).toString("base64");

/** A signature with a certificate as cosign attaches it under the tag `sha256-<hex>.sig`. */
export function signAttached(
  signer: Signer,
  digest: Digest,
  options: SigningOptions = {},
): AttachedSignature {
  const { reference = "a.test/b:1", log, at = new Date(), loggedSigner = signer.certificate } = options;
  const payload = Buffer.from(
    JSON.stringify({
      critical: {
        identity: { "docker-reference": reference },
        image: { "docker-manifest-digest": digest },
        type: "cosign container image signature",
      },
      optional: null,
    }),
  );
  const content = sign("sha256", payload, signer.key).toString("base64");
  const body = {
    apiVersion: "0.0.1",
    kind: "hashedrekord",
    spec: {
      data: { hash: { algorithm: "sha256", value: createHash("sha256").update(payload).digest("hex") } },
      signature: { content, publicKey: { content: base64(loggedSigner) } },
    },
  };
  return {
    kind: "sigstore",
    payload,
    annotations: {
      "dev.cosignproject.cosign/signature": content,
      "dev.sigstore.cosign/certificate": signer.certificate,
      "dev.sigstore.cosign/chain": signer.chain,
      ...(log ? { "dev.sigstore.cosign/bundle": JSON.stringify(log.enter(body, at)) } : {}),
    },
  };
}

/** A bundle (v0.3) as cosign 3 makes it of a statement about a manifest. */
export function signBundle(
  signer: Signer,
  digest: Digest,
  options: SigningOptions & { readonly predicateType?: string } = {},
): Extract<ImageSignature, { kind: "bundle" }> {
  const { log, at = new Date(), predicateType = "https://sigstore.dev/cosign/sign/v1" } = options;
  const [algorithmName, hex] = digest.split(":") as [string, string];
  const payload = Buffer.from(
    JSON.stringify({
      _type: "https://in-toto.io/Statement/v1",
      subject: [
        { ...(options.reference ? { name: options.reference } : {}), digest: { [algorithmName]: hex } },
      ],
      predicateType,
      predicate: {},
    }),
  );
  const payloadType = "application/vnd.in-toto+json";
  const sig = sign("sha256", dsse.preAuthEncoding(payloadType, payload), signer.key).toString("base64");
  const sha256 = (data: string | Buffer) => ({
    algorithm: "sha256",
    value: createHash("sha256").update(data).digest("hex"),
  });
  const dsseEnvelope = { payload: base64(payload), payloadType, signatures: [{ sig }] };
  const body = {
    apiVersion: "0.0.1",
    kind: "dsse",
    spec: {
      envelopeHash: sha256(JSON.stringify(dsseEnvelope)),
      payloadHash: sha256(payload),
      signatures: [{ signature: sig, verifier: base64(options.loggedSigner ?? signer.certificate) }],
    },
  };
  const entry = log?.enter(body, at);
  const document = {
    mediaType: "application/vnd.dev.sigstore.bundle.v0.3+json",
    verificationMaterial: {
      certificate: { rawBytes: base64(Buffer.from(new X509Certificate(signer.certificate).rawData)) },
      tlogEntries: entry
        ? [
            {
              logIndex: String(entry.Payload.logIndex),
              logId: { keyId: Buffer.from(log!.logID, "hex").toString("base64") },
              kindVersion: { kind: "dsse", version: "0.0.1" },
              integratedTime: String(entry.Payload.integratedTime),
              inclusionPromise: { signedEntryTimestamp: entry.SignedEntryTimestamp },
              inclusionProof: log!.prove(entry.Payload.body),
              canonicalizedBody: entry.Payload.body,
            },
          ]
        : [],
    },
    dsseEnvelope,
  };
  return { kind: "bundle", document: Buffer.from(JSON.stringify(document)) };
}

/** A trusted root that names an authority and a log, as sigstore's own clients read it. */
export function trustedRoot(authority: Awaited<ReturnType<typeof createAuthority>>, log: Log): object {
  const validFor = { start: "2000-01-01T00:00:00Z" };
  const certificates = [authority.intermediateDer, authority.rootDer].map(der => ({
    rawBytes: der.toString("base64"),
  }));
  return {
    mediaType: "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
    tlogs: [
      {
        baseUrl: "https://log.test",
        hashAlgorithm: "SHA2_256",
        publicKey: { rawBytes: log.der.toString("base64"), keyDetails: "PKIX_ECDSA_P256_SHA_256", validFor },
        logId: { keyId: Buffer.from(log.logID, "hex").toString("base64") },
      },
    ],
    certificateAuthorities: [{ subject: {}, uri: "https://ca.test", certChain: { certificates }, validFor }],
    ctlogs: [],
    timestampAuthorities: [],
  };
}
