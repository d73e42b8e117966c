import { describe, expect, test } from "vitest";
import { PieceQueue } from "./piece-queue.ts";

const content = Buffer.alloc(5_000_001, "some bytes, not all of them the same; ");

/** Puts the content in, in parts of a size, and waits where it is asked to. */
async function putAll(queue: PieceQueue, step: number): Promise<void> {
  for (let at = 0; at < content.byteLength; at += step) await queue.put(content.subarray(at, at + step));
}

describe("PieceQueue", () => {
  test.each([1_000, 65_536, 3_000_000])("hands on in order what comes in parts of %i bytes", async step => {
    const queue = new PieceQueue();
    const putting = putAll(queue, step).then(() => queue.end());
    const found: Buffer[] = [];
    for await (const piece of queue.pieces()) {
      found.push(Buffer.from(piece));
      await new Promise(setImmediate);
    }
    await putting;
    expect(Buffer.concat(found).equals(content)).toBe(true);
  });

  test("fills few buffers again and again", async () => {
    const queue = new PieceQueue();
    const putting = putAll(queue, 100_000).then(() => queue.end());
    const memories = new Set<ArrayBufferLike>();
    for await (const piece of queue.pieces()) memories.add(piece.buffer);
    await putting;
    expect(memories.size).toBeLessThan(8);
  });

  test("asks to wait until there is room, and takes what comes nevertheless", async () => {
    const queue = new PieceQueue();
    const room = queue.put(content.subarray(0, 2_000_000));
    expect(room).toBeInstanceOf(Promise);
    expect(queue.put(content.subarray(2_000_000))).toBe(room);
    queue.end();
    const found: Buffer[] = [];
    for await (const piece of queue.pieces()) found.push(Buffer.from(piece));
    await room;
    expect(Buffer.concat(found).equals(content)).toBe(true);
  });

  test("hands on what came before a failure", async () => {
    const queue = new PieceQueue();
    void queue.put(content.subarray(0, 300_000));
    queue.end(new Error("broken"));
    const found: Buffer[] = [];
    const reading = async () => {
      for await (const piece of queue.pieces()) found.push(Buffer.from(piece));
    };
    await expect(reading()).rejects.toThrow("broken");
    expect(Buffer.concat(found).equals(content.subarray(0, 300_000))).toBe(true);
  });

  test("has nobody wait for a reader who has left", async () => {
    const queue = new PieceQueue();
    const room = queue.put(content);
    for await (const _ of queue.pieces()) break;
    await room;
    await queue.put(content);
  });
});
