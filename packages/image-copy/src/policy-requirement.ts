import { OcidError } from "@ocid/base";
import { Fields } from "@ocid/spec";
import { refuseUnknownKeys } from "./refuse-unknown-keys.ts";
import type { SignerIdentity } from "./signatures/certificate-authority.ts";
import { type KeySource, parseKeySource } from "./signatures/key-source.ts";
import { parseSignedIdentity, type SignedIdentity } from "./signatures/signed-identity.ts";

/** One rule of a policy (containers-policy.json(5), "Policy Requirements"). */
export type PolicyRequirement =
  | { readonly type: "insecureAcceptAnything" }
  | { readonly type: "reject" }
  | { readonly type: "signedBy"; readonly keys: KeySource; readonly signedIdentity: SignedIdentity }
  | {
      readonly type: "sigstoreSigned";
      readonly signers: SigstoreSigners;
      /** Of the transparency log that a signature must be in. Undefined: it need not be in one. */
      readonly rekorKeys: KeySource | undefined;
      readonly signedIdentity: SignedIdentity;
    };

/** Whose signatures a rule accepts: of keys, or of whom certificates name. */
export type SigstoreSigners =
  | { readonly kind: "keys"; readonly keys: KeySource }
  | {
      readonly kind: "certificates";
      readonly roots: KeySource;
      readonly intermediates: KeySource | undefined;
      readonly identity: SignerIdentity;
    };

const keySource = ["keyPath", "keyPaths", "keyData"];
const rekorSource = ["Path", "Paths", "Data", "Datas"].map(kind => `rekorPublicKey${kind}`);
const keysOf: Readonly<Record<PolicyRequirement["type"], readonly string[]>> = {
  insecureAcceptAnything: ["type"],
  reject: ["type"],
  signedBy: ["type", "keyType", "signedIdentity", ...keySource],
  sigstoreSigned: ["type", "keyDatas", "fulcio", "pki", "signedIdentity", ...keySource, ...rekorSource],
};

/** A list of rules, not empty; `what` names it in errors. */
export function parseRequirements(value: unknown, what: string): readonly PolicyRequirement[] {
  const list = new Fields({ list: value }, what).list("list", 1_000);
  if (list.length === 0) throw new OcidError("INVALID_ARGUMENT", `${what} has no requirement`);
  return list.map((item, at) => parseRequirement(item, `${what}: requirement ${at + 1}`));
}

function parseRequirement(value: unknown, what: string): PolicyRequirement {
  const fields = new Fields(value, what);
  const type = fields.string("type");
  if (!Object.hasOwn(keysOf, type))
    throw new OcidError(
      "INVALID_ARGUMENT",
      `${what} has the unknown type ${JSON.stringify(type.slice(0, 80))}`,
    );
  const known = type as PolicyRequirement["type"];
  refuseUnknownKeys(value as Readonly<Record<string, unknown>>, keysOf[known], what);
  switch (known) {
    case "insecureAcceptAnything":
    case "reject":
      return { type: known };
    case "signedBy":
      return parseSignedBy(fields, what);
    case "sigstoreSigned":
      return parseSigstoreSigned(fields, what);
  }
}

function parseSignedBy(fields: Fields, what: string): PolicyRequirement {
  if (fields.string("keyType") !== "GPGKeys")
    throw new OcidError("INVALID_ARGUMENT", `${what}: keyType should be GPGKeys`);
  const keys = parseKeySource(fields, "key", what);
  if (keys === undefined) throw new OcidError("INVALID_ARGUMENT", `${what} has no keys`);
  return { type: "signedBy", keys, signedIdentity: identityOf(fields, what) };
}

function parseSigstoreSigned(fields: Fields, what: string): PolicyRequirement {
  const rekorKeys = parseKeySource(fields, "rekorPublicKey", what);
  const keys = parseKeySource(fields, "key", what);
  const [fulcio, pki] = [fields.raw("fulcio"), fields.raw("pki")];
  if ([keys, fulcio, pki].filter(source => source !== undefined).length !== 1)
    throw new OcidError("INVALID_ARGUMENT", `${what} should have either keys, fulcio or pki`);
  if (fulcio !== undefined && rekorKeys === undefined)
    throw new OcidError("INVALID_ARGUMENT", `${what}: with fulcio, a public key of Rekor is needed`);
  const signers: SigstoreSigners =
    keys !== undefined
      ? { kind: "keys", keys }
      : fulcio !== undefined
        ? parseFulcio(fulcio, `${what}: fulcio`)
        : parsePki(pki, `${what}: pki`);
  return { type: "sigstoreSigned", signers, rekorKeys, signedIdentity: identityOf(fields, what) };
}

function parseFulcio(value: unknown, what: string): SigstoreSigners {
  const fields = openObject(value, ["caPath", "caData", "oidcIssuer", "subjectEmail"], what);
  const identity = {
    issuer: textOf(fields, "oidcIssuer", what),
    email: textOf(fields, "subjectEmail", what),
  };
  return { kind: "certificates", roots: rootsOf(fields, "ca", what), intermediates: undefined, identity };
}

function parsePki(value: unknown, what: string): SigstoreSigners {
  const files = ["caRootsPath", "caRootsData", "caIntermediatesPath", "caIntermediatesData"];
  const fields = openObject(value, [...files, "subjectEmail", "subjectHostname"], what);
  const has = (key: string) => fields.raw(key) !== undefined;
  if (!has("subjectEmail") && !has("subjectHostname"))
    throw new OcidError("INVALID_ARGUMENT", `${what} should have a subjectEmail or a subjectHostname`);
  const hostname = has("subjectHostname") ? textOf(fields, "subjectHostname", what) : undefined;
  // To the library that compares them, a dot in front stands for all names below.
  if (hostname?.startsWith("."))
    throw new OcidError("INVALID_ARGUMENT", `${what}: subjectHostname is no host name: ${hostname}`);
  return {
    kind: "certificates",
    roots: rootsOf(fields, "caRoots", what),
    intermediates: parseKeySource(fields, "caIntermediates", what),
    identity: { email: has("subjectEmail") ? textOf(fields, "subjectEmail", what) : undefined, hostname },
  };
}

function openObject(value: unknown, keys: readonly string[], what: string): Fields {
  const fields = new Fields(value, what);
  refuseUnknownKeys(value as Readonly<Record<string, unknown>>, keys, what);
  return fields;
}

function textOf(fields: Fields, key: string, what: string): string {
  const text = fields.string(key);
  if (text === "") throw new OcidError("INVALID_ARGUMENT", `${what}: ${key} is empty`);
  return text;
}

function rootsOf(fields: Fields, name: string, what: string): KeySource {
  const roots = parseKeySource(fields, name, what);
  if (roots === undefined)
    throw new OcidError("INVALID_ARGUMENT", `${what} has no ${name}Path or ${name}Data`);
  return roots;
}

function identityOf(fields: Fields, what: string): SignedIdentity {
  return parseSignedIdentity(fields.raw("signedIdentity"), `${what}: signedIdentity`);
}
