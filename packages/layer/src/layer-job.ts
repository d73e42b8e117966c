import { closeSync, openSync, readdirSync, readSync, rmSync } from "node:fs";
import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import { codeOf, OcidError } from "@ocid/base";
import type { BlobSource } from "@ocid/spec";
import { type AppliedLayer, LayerStream, type LayerTarget } from "./apply-stream.ts";
import { downloadInParts, parallelBytes, replay } from "./download-in-parts.ts";
import { downloadBlob } from "./http-blob.ts";
import { PartialBlob } from "./partial-blob.ts";
import { Refused, RemotePlainLayer } from "./remote-plain-layer.ts";

export interface LayerJob extends LayerTarget {
  readonly source: BlobSource;
  /** Files `<path>.<offset>` keep the blob's bytes as they come, so that a killed download can go on; removed on success. */
  readonly partialPath?: string;
  /** Unpacks in a thread of its own, while this one inflates what follows. Default false. */
  readonly twoThreads?: boolean;
}

export interface JobHooks {
  readonly signal: AbortSignal;
  /** Bytes of the blob taken so far. */
  onBytes(bytes: number): void;
}

/**
 * Fetches, verifies and applies a layer. What a killed download has left is gone on from; when it, or a
 * download in several parts, turns out wrong, the layer is fetched once more from its start over one connection.
 */
export async function runLayerJob(job: LayerJob, hooks: JobHooks): Promise<AppliedLayer> {
  if (job.partialPath === undefined) return await runOnce(job, hooks, undefined, 1);
  using partial = new PartialBlob(job.partialPath, job.size);
  let inParts = partial.gaps(job.size)[0]?.from !== 0 || job.size >= parallelBytes;
  for (;;) {
    try {
      const applied = await runOnce(job, hooks, partial, inParts ? connections : 1);
      partial.remove();
      return applied;
    } catch (error) {
      const code = codeOf(error);
      // Bytes that turned out wrong must not be gone on from.
      if (code === "DATA_LOSS" || code === "INVALID_ARGUMENT") partial.remove();
      if (code !== "DATA_LOSS" || !inParts || hooks.signal.aborted) throw error;
      inParts = false;
      emptyTarget(job);
    }
  }
}

/** More do not help: one thread unpacks. */
const connections = 4;

async function runOnce(
  job: LayerJob,
  hooks: JobHooks,
  partial: PartialBlob | undefined,
  lanes: number,
): Promise<AppliedLayer> {
  const stream = new LayerStream(job, job.twoThreads ? new RemotePlainLayer(job) : undefined);
  const deliver = (chunk: Uint8Array) => {
    stream.write(chunk);
    hooks.onBytes(stream.received);
  };
  try {
    if (partial && job.source.kind === "http")
      await downloadInParts(job.source, partial, {
        size: job.size,
        connections: lanes,
        signal: hooks.signal,
        deliver,
      });
    else {
      if (partial) await replay(partial, 0, deliver, hooks.signal);
      const take = (chunk: Uint8Array) => {
        partial?.write(stream.received, chunk);
        deliver(chunk);
      };
      await readSource(job.source, stream.received, job.size, hooks, take);
    }
    hooks.signal.throwIfAborted();
    return await stream.finish();
  } catch (error) {
    throw error instanceof Refused ? await error.reason() : error;
  } finally {
    await stream.close();
  }
}

function emptyTarget({ directory, tarSplitPath }: LayerJob): void {
  for (const name of readdirSync(directory)) rmSync(join(directory, name), { recursive: true, force: true });
  if (tarSplitPath !== undefined) rmSync(tarSplitPath, { force: true });
}

const readBytes = 1024 * 1024;

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
