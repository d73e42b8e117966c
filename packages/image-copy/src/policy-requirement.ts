import { OcidError } from "@ocid/base";
import { Fields } from "@ocid/spec";

/** One rule of a policy (containers-policy.json(5), "Policy Requirements"). */
export type PolicyRequirement =
  | { readonly type: "insecureAcceptAnything" }
  | { readonly type: "reject" }
  | { readonly type: "signedBy"; readonly rule: Readonly<Record<string, unknown>> }
  | { readonly type: "sigstoreSigned"; readonly rule: Readonly<Record<string, unknown>> };

const keysOf: Readonly<Record<PolicyRequirement["type"], readonly string[]>> = {
  insecureAcceptAnything: ["type"],
  reject: ["type"],
  signedBy: ["type", "keyType", "keyPath", "keyPaths", "keyData", "signedIdentity"],
  sigstoreSigned: [
    "type",
    "keyPath",
    "keyPaths",
    "keyData",
    "keyDatas",
    "fulcio",
    "pki",
    "rekorPublicKeyPath",
    "rekorPublicKeyPaths",
    "rekorPublicKeyData",
    "rekorPublicKeyDatas",
    "signedIdentity",
  ],
};

/** A list of rules, not empty; `what` names it in errors. */
export function parseRequirements(value: unknown, what: string): readonly PolicyRequirement[] {
  const list = new Fields({ list: value }, what).list("list", 1_000);
  if (list.length === 0) throw new OcidError("INVALID_ARGUMENT", `${what} has no requirement`);
  return list.map((item, at) => parseRequirement(item, `${what}: requirement ${at + 1}`));
}

function parseRequirement(value: unknown, what: string): PolicyRequirement {
  const type = new Fields(value, what).string("type");
  if (!Object.hasOwn(keysOf, type))
    throw new OcidError(
      "INVALID_ARGUMENT",
      `${what} has the unknown type ${JSON.stringify(type.slice(0, 80))}`,
    );
  const known = type as PolicyRequirement["type"];
  const rule = value as Readonly<Record<string, unknown>>;
  refuseUnknownKeys(rule, keysOf[known], what);
  if (known === "insecureAcceptAnything" || known === "reject") return { type: known };
  checkKeySources(known, rule, what);
  return { type: known, rule };
}

function checkKeySources(
  type: "signedBy" | "sigstoreSigned",
  rule: Readonly<Record<string, unknown>>,
  what: string,
): void {
  if (type === "signedBy" && rule["keyType"] !== "GPGKeys")
    throw new OcidError("INVALID_ARGUMENT", `${what}: keyType should be GPGKeys`);
  const sources = ["keyPath", "keyPaths", "keyData", "keyDatas", "fulcio", "pki"].filter(key => key in rule);
  if (sources.length !== 1)
    throw new OcidError(
      "INVALID_ARGUMENT",
      `${what} should name its keys in one way, found ${sources.join(", ") || "none"}`,
    );
  const rekor = Object.keys(rule).filter(key => key.startsWith("rekor"));
  if (rekor.length > 1) throw new OcidError("INVALID_ARGUMENT", `${what} has both ${rekor.join(" and ")}`);
  if (sources[0] === "fulcio" && rekor.length === 0)
    throw new OcidError(
      "INVALID_ARGUMENT",
      `${what}: with fulcio, a rekorPublicKeyPath or rekorPublicKeyData is needed`,
    );
}

export function refuseUnknownKeys(
  object: Readonly<Record<string, unknown>>,
  known: readonly string[],
  what: string,
): void {
  const unknown = Object.keys(object).find(key => !known.includes(key));
  if (unknown !== undefined)
    throw new OcidError(
      "INVALID_ARGUMENT",
      `${what} has the unknown key ${JSON.stringify(unknown.slice(0, 80))}`,
    );
}
