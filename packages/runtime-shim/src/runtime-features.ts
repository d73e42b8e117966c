import { runProcess } from "@ocid/host";

/** What a runtime says that it can do (runtime-spec, features.md). */
export interface RuntimeFeatures {
  /** Mount option `rro`. */
  readonly recursiveReadOnlyMounts: boolean;
  readonly userNamespaces: boolean;
}

export const noFeatures: RuntimeFeatures = { recursiveReadOnlyMounts: false, userNamespaces: false };

/** Asks a runtime once; one that does not know the question can do nothing of it. */
export async function readFeatures(path: string): Promise<RuntimeFeatures> {
  const { code, stdout } = await runProcess({ path, args: ["features"], timeoutMs: 10_000 });
  return code === 0 ? parseFeatures(stdout.toString()) : noFeatures;
}

export function parseFeatures(text: string): RuntimeFeatures {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return noFeatures;
  }
  const features = value as { mountOptions?: unknown; linux?: { namespaces?: unknown } } | null;
  const lists = (list: unknown, word: string) => Array.isArray(list) && list.includes(word);
  return {
    recursiveReadOnlyMounts: lists(features?.mountOptions, "rro"),
    userNamespaces: lists(features?.linux?.namespaces, "user"),
  };
}
