import { setTimeout as sleep } from "node:timers/promises";
import { OcidError } from "@ocid/base";
import { type Descriptor, referenceName } from "@ocid/spec";
import type { CallOptions } from "./call-options.ts";
import { isPassing, retryAfterOf } from "./endpoint.ts";
import type { Place } from "./places.ts";
import { UploadSession } from "./upload-session.ts";
import { UploadVerifier } from "./upload-verifier.ts";

/**
 * Opens a blob's bytes from an offset on; called once for each try. The memory that they are in may be used again when
 * the next ones are asked for.
 */
export type OpenFrom = (offset: number) => AsyncIterable<Uint8Array>;

export interface PushBlobOptions extends CallOptions {
  /** Another repository of the registry that may have the blob already. */
  readonly mountFrom?: string | undefined;
  /**
   * Send the blob in requests of so many bytes. Default: in one request; when that breaks, what the registry has kept
   * is gone on from.
   */
  readonly chunkBytes?: number | undefined;
  /** Where an upload that a process left unfinished is remembered, for the next process to go on with. Default: nowhere. */
  readonly journal?: UploadJournal | undefined;
}

/** Remembers where unfinished uploads lie. A location is a secret of its registry's: whoever has it may write there. */
export interface UploadJournal {
  find(key: string): Promise<string | undefined>;
  save(key: string, location: string): Promise<void>;
  remove(key: string): Promise<void>;
}

const maxFailures = 6;

export function bytesSource(bytes: Uint8Array): OpenFrom {
  return async function* (offset) {
    yield bytes.subarray(offset);
  };
}

/**
 * Uploads a blob, or has the registry take it over from another of its repositories (distribution-spec, "Pushing
 * blobs"). An upload that breaks goes on where the registry says that it stopped. Returns whether bytes were sent.
 */
export async function pushBlob(
  place: Place,
  descriptor: Descriptor,
  open: OpenFrom,
  options: PushBlobOptions,
): Promise<{ readonly sent: boolean }> {
  const { signal, journal } = options;
  const key = `${referenceName(place.reference)}@${descriptor.digest}`;
  const what = `push ${descriptor.digest} to ${referenceName(place.reference)}`;
  const upload = new UploadSession(place, descriptor, { what, signal });
  const verifier = new UploadVerifier(descriptor, open);
  const known = await journal?.find(key);
  if (known === undefined || !(await upload.resume(known))) {
    if (!(await upload.start(options.mountFrom))) return { sent: false };
    await journal?.save(key, upload.location);
  }
  for (let failures = 0; ; ) {
    const before = upload.position;
    try {
      await send(upload, verifier, descriptor, options);
      await journal?.remove(key);
      return { sent: true };
    } catch (error) {
      failures = upload.position > before ? 1 : failures + 1;
      if (signal?.aborted || verifier.failure !== undefined) throw verifier.failure ?? error;
      if (!mayPass(error) || failures >= maxFailures) throw error;
      await sleep(
        retryAfterOf(error) ?? Math.min(10_000, 100 * 2 ** failures) * (0.5 + Math.random() / 2),
        undefined,
        signal ? { signal } : {},
      );
      const last = upload.position;
      if (!(await upload.resume(upload.location))) {
        await upload.start(undefined);
        await journal?.save(key, upload.location);
      }
      if (upload.position > last) failures = 1;
    }
  }
}

async function send(
  upload: UploadSession,
  verifier: UploadVerifier,
  { size }: Descriptor,
  { chunkBytes }: PushBlobOptions,
): Promise<void> {
  if (upload.position === 0 && chunkBytes === undefined)
    return await upload.putAll(() => verifier.read(0, size));
  const step = Math.max(1, chunkBytes ?? size, upload.minChunkBytes);
  while (upload.position < size) {
    const from = upload.position;
    const to = Math.min(size, from + step);
    await upload.patch(from, to, () => verifier.read(from, to));
  }
  // A process that goes on with an upload has not read what another one sent; the registry has, and compares.
  await upload.finish();
}

/** A chunk that is out of its turn (416), like a broken connection, is put right by asking where the upload is. */
function mayPass(error: unknown): boolean {
  return isPassing(error) || (error instanceof OcidError && error.details?.["status"] === 416);
}
