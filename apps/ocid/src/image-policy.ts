import { join } from "node:path";
import { isOcidError, messageOf, OcidError } from "@ocid/base";
import { type ImagePolicy, loadDefaultPolicy, loadPolicy } from "@ocid/image-copy";
import type { Config } from "./config/config-schema.ts";

/** Where policies of images are. */
export interface PolicyFiles {
  /** Empty: where the other containers tools have theirs, and no policy where there is none. */
  readonly path: string;
  /** Empty: no policies of namespaces. */
  readonly directory: string;
}

export function policyFilesOf({ image }: Config): PolicyFiles {
  return { path: image.signature_policy, directory: image.signature_policy_dir };
}

/**
 * The policy for images of pods of a namespace, read anew each time, so that what an operator changes counts at once.
 * A file that is named must be there: NOT_FOUND becomes FAILED_PRECONDITION, because it is not the image that is missing.
 */
export async function policyFor({ path, directory }: PolicyFiles, namespace: string): Promise<ImagePolicy> {
  try {
    const own = directory !== "" && isFileName(namespace) ? join(directory, `${namespace}.json`) : undefined;
    const policy = own === undefined ? undefined : await loadIfThere(own);
    return policy ?? (path === "" ? await loadDefaultPolicy() : await loadPolicy(path));
  } catch (error) {
    throw new OcidError("FAILED_PRECONDITION", `no image can be used: ${messageOf(error)}`, {
      cause: error,
    });
  }
}

async function loadIfThere(file: string): Promise<ImagePolicy | undefined> {
  try {
    return await loadPolicy(file);
  } catch (error) {
    if (isOcidError(error) && error.reason === "NoPolicy") return undefined;
    throw error;
  }
}

/** Kubernetes' names of namespaces are (RFC 1123 labels). */
function isFileName(namespace: string): boolean {
  return /^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/.test(namespace);
}
