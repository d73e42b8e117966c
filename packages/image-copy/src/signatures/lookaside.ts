import { fileURLToPath } from "node:url";
import { isOcidError, linkSignal, OcidError, readCapped, wrapError } from "@ocid/base";
import type { Digest } from "@ocid/spec";
import type { CallOptions } from "../image-source.ts";
import { readSmallFile } from "../small-file.ts";
import {
  type ImageSignature,
  maxSignatureBytes,
  maxSignatures,
  parseSignatureFile,
} from "./image-signature.ts";

const answerMs = 30_000;

/** Signatures of a manifest on a lookaside server or in a directory: `<base>/<repository path>@<algorithm>=<hex>/signature-N`. */
export async function readLookaside(
  base: string,
  repository: string,
  digest: Digest,
  options: CallOptions,
): Promise<readonly ImageSignature[]> {
  const folder = `${base.replace(/\/$/, "")}/${repository}@${digest.replace(":", "=")}`;
  return await readNumbered(number => readUrl(`${folder}/signature-${number}`, options));
}

/** `signature-1`, `signature-2` … until one is missing. */
export async function readNumbered(
  read: (number: number) => Promise<Uint8Array | undefined>,
): Promise<readonly ImageSignature[]> {
  const found: ImageSignature[] = [];
  for (let number = 1; number <= maxSignatures; number++) {
    const bytes = await read(number);
    if (bytes === undefined) return found;
    const signature = parseSignatureFile(bytes);
    if (signature) found.push(signature);
  }
  throw new OcidError("RESOURCE_EXHAUSTED", `there are more than ${maxSignatures} signatures`);
}

export async function readIfThere(path: string): Promise<Uint8Array | undefined> {
  try {
    return await readSmallFile(path, path);
  } catch (error) {
    if (isOcidError(error, "NOT_FOUND")) return undefined;
    throw error;
  }
}

async function readUrl(text: string, { signal }: CallOptions): Promise<Uint8Array | undefined> {
  const url = new URL(text);
  if (url.protocol === "file:") return await readIfThere(fileURLToPath(url));
  if (url.protocol !== "https:" && url.protocol !== "http:")
    throw new OcidError("INVALID_ARGUMENT", `signatures cannot be read from ${text}`);
  using timeout = linkTimeout(signal);
  try {
    const response = await fetch(url, { signal: timeout.signal });
    if (response.status === 404) return undefined;
    if (!response.ok || response.body === null)
      throw new OcidError("UNAVAILABLE", `the server answered ${response.status}`);
    return await readCapped(response.body, maxSignatureBytes, "the signature");
  } catch (error) {
    signal?.throwIfAborted();
    throw wrapError(`read signature ${text}`, error, "UNAVAILABLE");
  }
}

function linkTimeout(signal: AbortSignal | undefined): Disposable & { readonly signal: AbortSignal } {
  const link = linkSignal(signal);
  const timer = setTimeout(
    () => link.abort(new OcidError("DEADLINE_EXCEEDED", `no answer within ${answerMs / 1000} s`)),
    answerMs,
  );
  return {
    signal: link.signal,
    [Symbol.dispose]() {
      clearTimeout(timer);
      link[Symbol.dispose]();
    },
  };
}
