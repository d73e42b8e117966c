import { OcidError } from "@ocid/base";
import { Fields } from "@ocid/spec";
import { refuseUnknownKeys } from "./refuse-unknown-keys.ts";
import { type KeySource, parseKeySource } from "./signatures/key-source.ts";
import { parseSignedIdentity, type SignedIdentity } from "./signatures/signed-identity.ts";

/** One rule of a policy (containers-policy.json(5), "Policy Requirements"). */
export type PolicyRequirement =
  | { readonly type: "insecureAcceptAnything" }
  | { readonly type: "reject" }
  | { readonly type: "signedBy"; readonly keys: KeySource; readonly signedIdentity: SignedIdentity }
  | {
      readonly type: "sigstoreSigned";
      /** Undefined: by certificates, of Fulcio or another authority. */
      readonly keys: KeySource | undefined;
      /** Of the transparency log that a signature must be in. Undefined: it need not be in one. */
      readonly rekorKeys: KeySource | undefined;
      readonly signedIdentity: SignedIdentity;
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
  const keys = parseKeySource(fields, "key", what);
  const rekorKeys = parseKeySource(fields, "rekorPublicKey", what);
  const sources = [keys, fields.raw("fulcio"), fields.raw("pki")].filter(source => source !== undefined);
  if (sources.length !== 1)
    throw new OcidError("INVALID_ARGUMENT", `${what} should have either keys, fulcio or pki`);
  if (fields.raw("fulcio") !== undefined && rekorKeys === undefined)
    throw new OcidError("INVALID_ARGUMENT", `${what}: with fulcio, a public key of Rekor is needed`);
  return { type: "sigstoreSigned", keys, rekorKeys, signedIdentity: identityOf(fields, what) };
}

function identityOf(fields: Fields, what: string): SignedIdentity {
  return parseSignedIdentity(fields.raw("signedIdentity"), `${what}: signedIdentity`);
}
