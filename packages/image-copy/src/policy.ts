import { readFileSync, statSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { isOcidError, OcidError, wrapError } from "@ocid/base";
import { isObject, maxManifestBytes, parseJsonObject } from "@ocid/spec";
import { type AcceptedSignature, checkSignatures } from "./check-signatures.ts";
import type { CallOptions, ImageSource, ManifestBytes, PolicyIdentity } from "./image-source.ts";
import { type PolicyRequirement, parseRequirements } from "./policy-requirement.ts";
import { refuseUnknownKeys } from "./refuse-unknown-keys.ts";
import { checkUniqueKeys } from "./unique-keys.ts";

/** Rules for which images may be used (containers-policy.json(5)). */
export interface ImagePolicy {
  /** The rules for an image: of the most specific scope that has any, and only those. */
  requirementsFor(identity: PolicyIdentity): readonly PolicyRequirement[];
  /**
   * Fails with PERMISSION_DENIED unless all rules for an image hold. `manifests`: its own, then those of the indexes
   * through which it was found, whose signatures count for it as well. Returns the signatures that the rules took;
   * none where they want none.
   */
  admit(
    source: ImageSource,
    manifests: readonly ManifestBytes[],
    options?: CallOptions,
  ): Promise<readonly AcceptedSignature[]>;
}

const acceptAnything = parsePolicy(Buffer.from('{"default":[{"type":"insecureAcceptAnything"}]}'));

type Scopes = ReadonlyMap<string, readonly PolicyRequirement[]>;

/**
 * Reads policy.json: the given file, or the user's, or /etc/containers/policy.json. NOT_FOUND where there is none: as
 * with other tools, images are not used without a policy file unless the caller decides so.
 */
export async function loadPolicy(path?: string): Promise<ImagePolicy> {
  const candidates =
    path === undefined
      ? [join(homedir(), ".config/containers/policy.json"), "/etc/containers/policy.json"]
      : [path];
  for (const candidate of candidates) {
    const bytes = readPolicy(candidate);
    if (bytes) return parsePolicy(bytes, candidate);
  }
  throw new OcidError("NOT_FOUND", `there is no image policy: ${candidates.join(" or ")} does not exist`, {
    reason: "NoPolicy",
  });
}

/** At once: a small file that is asked for with each container is read sooner than a thread of the pool could be asked for it. */
function readPolicy(path: string): Buffer | undefined {
  try {
    const stat = statSync(path, { throwIfNoEntry: false });
    if (!stat) return undefined;
    if (stat.size > maxManifestBytes)
      throw new OcidError(
        "RESOURCE_EXHAUSTED",
        `it has ${stat.size} bytes, more than the limit of ${maxManifestBytes}`,
      );
    return readFileSync(path);
  } catch (error) {
    throw wrapError(path, error);
  }
}

/** As `loadPolicy` with the usual files; where there is none, a policy that accepts everything. */
export async function loadDefaultPolicy(): Promise<ImagePolicy> {
  try {
    return await loadPolicy();
  } catch (error) {
    if (isOcidError(error) && error.reason === "NoPolicy") return acceptAnything;
    throw error;
  }
}

/** Parses a policy strictly: what is unknown or there twice refuses the whole. `what` names it in errors. */
export function parsePolicy(bytes: Uint8Array, what = "policy"): ImagePolicy {
  const document = parseJsonObject(bytes, what);
  checkUniqueKeys(new TextDecoder().decode(bytes), what);
  refuseUnknownKeys(document, ["default", "transports"], what);
  const fallback = parseRequirements(document["default"], `${what}: default`);
  const transports = parseTransports(document["transports"], what);
  const requirementsFor = (identity: PolicyIdentity) => {
    const scopes = transports.get(identity.transport);
    const scope = [...identity.scopes, ""].find(candidate => scopes?.has(candidate));
    return scope === undefined ? fallback : scopes!.get(scope)!;
  };
  return {
    requirementsFor,
    async admit(source, manifests, options = {}) {
      if (source.identity === undefined)
        throw new OcidError("PERMISSION_DENIED", `${source.name} has no name that a policy could speak of`, {
          reason: "PolicyRejected",
        });
      const accepted: AcceptedSignature[] = [];
      for (const requirement of requirementsFor(source.identity))
        accepted.push(...(await enforce(requirement, source, manifests, options)));
      return accepted;
    },
  };
}

function parseTransports(value: unknown, what: string): ReadonlyMap<string, Scopes> {
  const transports = new Map<string, Scopes>();
  if (value === undefined) return transports;
  if (!isObject(value)) throw new OcidError("INVALID_ARGUMENT", `${what}: transports should be an object`);
  for (const [transport, scopes] of Object.entries(value)) {
    if (!isObject(scopes))
      throw new OcidError("INVALID_ARGUMENT", `${what}: transport ${transport} should be an object`);
    transports.set(
      transport,
      new Map(
        Object.entries(scopes).map(([scope, rules]) => [
          scope,
          parseRequirements(rules, `${what}: ${transport}: ${JSON.stringify(scope)}`),
        ]),
      ),
    );
  }
  return transports;
}

async function enforce(
  requirement: PolicyRequirement,
  source: ImageSource,
  manifests: readonly ManifestBytes[],
  options: CallOptions,
): Promise<readonly AcceptedSignature[]> {
  switch (requirement.type) {
    case "insecureAcceptAnything":
      return [];
    case "reject":
      throw new OcidError("PERMISSION_DENIED", `the policy rejects ${source.name}`, {
        reason: "PolicyRejected",
      });
    case "signedBy":
    case "sigstoreSigned":
      return [await checkSignatures(requirement, source, manifests, options)];
  }
}
