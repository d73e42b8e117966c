import { closeSync, openSync, readSync, unlinkSync, writeSync } from "node:fs";
import { setImmediate } from "node:timers/promises";
import { codeOf, OcidError } from "@ocid/base";
import type { BlobSource } from "@ocid/spec";
import { type AppliedLayer, LayerStream, type LayerTarget } from "./apply-stream.ts";
import { downloadBlob } from "./http-blob.ts";

export interface LayerJob extends LayerTarget {
  readonly source: BlobSource;
  /** Where the blob's bytes are kept as they come, so that a killed download can go on; removed on success. */
  readonly partialPath?: string;
}

export interface JobHooks {
  readonly signal: AbortSignal;
  /** Bytes of the blob taken so far. */
  onBytes(bytes: number): void;
}

/** Fetches, verifies and applies a layer in this thread. */
export async function runLayerJob(job: LayerJob, hooks: JobHooks): Promise<AppliedLayer> {
  const stream = new LayerStream(job);
  let partial: number | undefined;
  try {
    if (job.partialPath !== undefined) {
      partial = openSync(job.partialPath, "a+", 0o600);
      await replay(partial, job, stream, hooks);
    }
    const take = (chunk: Uint8Array) => {
      if (partial !== undefined) writeSync(partial, chunk);
      stream.write(chunk);
      hooks.onBytes(stream.received);
    };
    await readSource(job.source, stream.received, job.size, hooks, take);
    hooks.signal.throwIfAborted();
    const applied = stream.finish();
    if (job.partialPath !== undefined) unlinkSync(job.partialPath);
    return applied;
  } catch (error) {
    // Bytes that turned out wrong must not be gone on from.
    if (job.partialPath !== undefined && ["DATA_LOSS", "INVALID_ARGUMENT"].includes(codeOf(error)))
      unlinkSync(job.partialPath);
    throw error;
  } finally {
    if (partial !== undefined) closeSync(partial);
    stream.close();
  }
}

const readBytes = 1024 * 1024;

async function replay(fd: number, job: LayerJob, stream: LayerStream, hooks: JobHooks): Promise<void> {
  const buffer = Buffer.allocUnsafe(readBytes);
  for (let at = 0; at < job.size; ) {
    const count = readSync(fd, buffer, 0, buffer.byteLength, at);
    if (count === 0) return;
    at += count;
    stream.write(buffer.subarray(0, count));
    hooks.onBytes(stream.received);
    await setImmediate();
    hooks.signal.throwIfAborted();
  }
}

async function readSource(
  source: BlobSource,
  from: number,
  size: number,
  hooks: JobHooks,
  take: (chunk: Uint8Array) => void,
): Promise<void> {
  if (from === size) return;
  switch (source.kind) {
    case "http":
      return downloadBlob(source, { from, signal: hooks.signal, take });
    case "file":
      return readFile(source.path, (source.offset ?? 0) + from, size - from, hooks, take);
    case "stream": {
      let received = from;
      for await (const chunk of source.open(from, hooks.signal)) {
        take(chunk);
        received += chunk.byteLength;
        hooks.signal.throwIfAborted();
      }
      if (received < size)
        throw new OcidError("DATA_LOSS", `the source ended after ${received} of ${size} bytes`, {
          reason: "SizeMismatch",
        });
    }
  }
}

/** Reads no further than the blob goes; one byte more shows that the file is longer than it should be. */
async function readFile(
  path: string,
  offset: number,
  length: number,
  hooks: JobHooks,
  take: (chunk: Uint8Array) => void,
): Promise<void> {
  const fd = openSync(path, "r");
  const buffer = Buffer.allocUnsafe(readBytes);
  try {
    for (let at = 0; at < length; ) {
      const count = readSync(fd, buffer, 0, Math.min(buffer.byteLength, length - at), offset + at);
      if (count === 0) return;
      take(buffer.subarray(0, count));
      at += count;
      // Lets a message that says to stop come in.
      if (at % (4 * readBytes) < count) await setImmediate();
      hooks.signal.throwIfAborted();
    }
  } finally {
    closeSync(fd);
  }
}
