import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdir, open, readdir, rename, rm, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { codeOf, isOcidError, KeyedLock, OcidError } from "@ocid/base";
import { type Descriptor, digestAlgorithm, finishDigest } from "@ocid/spec";
import { FileEnd } from "./file-end.ts";
import type { PutBlobOptions } from "./image-source.ts";

/** Shorter pieces are not worth keeping: they are fetched again faster than they are found. */
const keepBytes = 64 * 1024;
const maxFailures = 5;

/** Of two copies of this process that want the same blob, the second finds it. */
const writing = new KeyedLock();

/** Whether a file can be the blob: sizes are compared, since a name was only ever given to verified content. */
export async function hasBlobFile(path: string, descriptor: Descriptor): Promise<boolean> {
  try {
    const { size } = await stat(path);
    return size === descriptor.size;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return false;
    throw error;
  }
}

/**
 * Writes a blob under its name once it is whole and right; returns false when it was there. What has arrived when it is
 * interrupted, by an error, a cancellation or the end of the process, stays beside it as `<blob>.<pid>.partial`; the
 * next writer takes it over, reads it through and asks for the rest only. The digest covers every byte of the result.
 */
export async function writeBlobFile(
  path: string,
  descriptor: Descriptor,
  openFrom: (offset: number) => AsyncIterable<Uint8Array>,
  options: PutBlobOptions = {},
): Promise<boolean> {
  return await writing.run(
    path,
    async () => {
      if (await hasBlobFile(path, descriptor)) return false;
      await mkdir(dirname(path), { recursive: true });
      await writeNew(path, descriptor, openFrom, options);
      return true;
    },
    options.signal,
  );
}

async function writeNew(
  path: string,
  descriptor: Descriptor,
  openFrom: (offset: number) => AsyncIterable<Uint8Array>,
  options: PutBlobOptions,
): Promise<void> {
  const partial = await takePartial(path, descriptor.size);
  try {
    const first = await fill(partial, descriptor, openFrom, options);
    if (!first.verified) {
      // The piece that was kept, not the source, may be what is wrong: once more from the start decides.
      await rm(partial);
      const again = first.from > 0 && (await fill(partial, descriptor, openFrom, options)).verified;
      if (!again) throw wrongDigest(descriptor, first.found);
    }
    await rename(partial, path);
  } catch (error) {
    if (!(await worthKeeping(partial, error))) await rm(partial, { force: true });
    throw error;
  }
}

interface Filled {
  readonly verified: boolean;
  readonly from: number;
  readonly found: string;
}

async function fill(
  partial: string,
  descriptor: Descriptor,
  openFrom: (offset: number) => AsyncIterable<Uint8Array>,
  { signal }: PutBlobOptions,
): Promise<Filled> {
  const algorithm = digestAlgorithm(descriptor.digest);
  const hash = createHash(algorithm);
  const file = await open(partial, "a+", 0o644);
  const end = new FileEnd(file);
  try {
    const from = (await file.stat()).size;
    if (from > 0)
      for await (const chunk of createReadStream(partial, { highWaterMark: 1024 * 1024, signal }))
        hash.update(chunk);
    let position = from;
    for (let failures = 0; position < descriptor.size || descriptor.size === 0; ) {
      const before = position;
      try {
        for await (const chunk of openFrom(position)) {
          signal?.throwIfAborted();
          if (position + chunk.byteLength > descriptor.size) throw tooLong(descriptor);
          hash.update(chunk);
          position += chunk.byteLength;
          await end.append(chunk);
        }
        if (position < descriptor.size) throw tooShort(descriptor, position);
        break;
      } catch (error) {
        failures = position > before ? 1 : failures + 1;
        if (signal?.aborted || codeOf(error) !== "UNAVAILABLE" || failures >= maxFailures) throw error;
      }
    }
    await end.sync();
    const found = finishDigest(hash, algorithm);
    return { verified: found === descriptor.digest, from, found };
  } finally {
    await end.settle();
    await file.close();
  }
}

/** Takes over a piece that nobody writes any more, or names a new one. */
async function takePartial(path: string, size: number): Promise<string> {
  const directory = dirname(path);
  const own = join(directory, `${basename(path)}.${process.pid}.partial`);
  for (const { path: found, inUse, size: kept } of await findPartialBlobs(directory, basename(path))) {
    if (found !== own && inUse) continue;
    if (kept > size) await rm(found, { force: true });
    // Of two who try, one succeeds.
    else if (found === own || (await renamed(found, own))) break;
  }
  return own;
}

/** A piece of a blob that an interrupted copy has left. */
export interface PartialBlob {
  readonly path: string;
  /** Bytes that a later copy need not fetch. */
  readonly size: number;
  /** The process that wrote it. */
  readonly pid: number;
  /** That process is still there. */
  readonly inUse: boolean;
}

/** Lists what interrupted copies have left in a directory of blobs, for all blobs or the one of a name. */
export async function findPartialBlobs(directory: string, name?: string): Promise<readonly PartialBlob[]> {
  const found: PartialBlob[] = [];
  for (const entry of await readdir(directory)) {
    const match = /^(?<blob>[0-9a-f]{64,128})\.(?<pid>\d+)\.partial$/.exec(entry);
    if (!match?.groups || (name !== undefined && match.groups["blob"] !== name)) continue;
    const path = join(directory, entry);
    const piece = await stat(path).catch(() => undefined);
    const pid = Number(match.groups["pid"]);
    if (piece) found.push({ path, size: piece.size, pid, inUse: isAlive(pid) });
  }
  return found;
}

function renamed(from: string, to: string): Promise<boolean> {
  return rename(from, to).then(
    () => true,
    () => false,
  );
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

/** Wrong content is of no use to anybody; a broken or cancelled transfer is. */
async function worthKeeping(partial: string, error: unknown): Promise<boolean> {
  if (isOcidError(error, "DATA_LOSS")) return false;
  const piece = await stat(partial).catch(() => undefined);
  return piece !== undefined && piece.size >= keepBytes;
}

function tooLong(descriptor: Descriptor): OcidError {
  return new OcidError("DATA_LOSS", `${descriptor.digest}: more than the expected ${descriptor.size} bytes`, {
    reason: "SizeMismatch",
  });
}

function tooShort(descriptor: Descriptor, received: number): OcidError {
  return new OcidError(
    "DATA_LOSS",
    `${descriptor.digest}: expected ${descriptor.size} bytes, received ${received}`,
    { reason: "SizeMismatch" },
  );
}

function wrongDigest(descriptor: Descriptor, found: string): OcidError {
  return new OcidError("DATA_LOSS", `expected content with digest ${descriptor.digest}, received ${found}`, {
    reason: "DigestMismatch",
  });
}
