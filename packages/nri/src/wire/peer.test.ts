import { duplexPair } from "node:stream";
import { OcidError } from "@ocid/base";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Plugin, Runtime } from "../gen/nri_pb.js";
import { connections, type Handlers, Peer } from "./peer.ts";

interface Sides {
  readonly runtime: Peer<typeof Runtime>;
  readonly plugin: Peer<typeof Plugin>;
  readonly ends: (string | undefined)[];
}

function connected(runtime: Handlers<typeof Runtime>, plugin: Handlers<typeof Plugin>): Sides {
  const [left, right] = duplexPair();
  const ends: (string | undefined)[] = [];
  const onClose = (error: OcidError | undefined) => void ends.push(error?.message);
  return {
    runtime: new Peer({
      trunk: left,
      callsOn: connections.plugin,
      servesOn: connections.runtime,
      serves: Runtime,
      handlers: runtime,
      onClose,
    }),
    plugin: new Peer({
      trunk: right,
      callsOn: connections.runtime,
      servesOn: connections.plugin,
      serves: Plugin,
      handlers: plugin,
      onClose,
    }),
    ends,
  };
}

describe("two peers", () => {
  test("call each other at the same time on one socket", async () => {
    const sides: Sides = connected(
      { updateContainers: async () => ({ failed: [{ containerId: "c" }] }) },
      {
        async configure({ config }) {
          const { failed } = await sides.plugin.call(Runtime.method.updateContainers, {}, 1_000);
          return { events: config.length + failed.length };
        },
      },
    );
    const answers = await Promise.all(
      ["", "a", "x".repeat(100_000)].map(config =>
        sides.runtime.call(Plugin.method.configure, { config }, 1_000),
      ),
    );
    expect(answers.map(answer => answer.events)).toEqual([1, 2, 100_001]);
  });

  test("get errors with their codes", async () => {
    const { runtime } = connected(
      {},
      {
        configure: async () => {
          throw new OcidError("NOT_FOUND", "no such thing");
        },
      },
    );
    await expect(runtime.call(Plugin.method.configure, {}, 1_000)).rejects.toMatchObject({
      code: "NOT_FOUND",
      message: "no such thing",
      reason: undefined,
    });
    await expect(runtime.call(Plugin.method.synchronize, {}, 1_000)).rejects.toMatchObject({
      code: "UNIMPLEMENTED",
    });
  });

  test("do not wait for an answer that does not come, nor for one from a closed connection", async () => {
    const never = Promise.withResolvers<never>();
    const { runtime, plugin, ends } = connected({}, { configure: () => never.promise });
    await expect(runtime.call(Plugin.method.configure, {}, 10)).rejects.toMatchObject({
      code: "DEADLINE_EXCEEDED",
      reason: "NoAnswer",
    });
    const waiting = runtime.call(Plugin.method.configure, {}, 60_000);
    plugin.close();
    await expect(waiting).rejects.toMatchObject({ code: "UNAVAILABLE" });
    await expect(runtime.call(Plugin.method.configure, {}, 60_000)).rejects.toMatchObject({
      code: "UNAVAILABLE",
    });
    expect(ends).toEqual([undefined, undefined]);
  });

  test("refuse to send what no peer would take", async () => {
    const { runtime } = connected({}, {});
    const config = "x".repeat(4 * 1024 * 1024);
    await expect(runtime.call(Plugin.method.configure, { config }, 1_000)).rejects.toMatchObject({
      code: "RESOURCE_EXHAUSTED",
    });
    expect(runtime.isOpen).toBe(true);
  });

  test("limit what they serve at once", async () => {
    const never = Promise.withResolvers<never>();
    const { plugin, ends } = connected({ updateContainers: () => never.promise }, {});
    const calls = Array.from({ length: 65 }, () => plugin.call(Runtime.method.updateContainers, {}, 5_000));
    await Promise.allSettled(calls);
    expect(ends[0]).toMatch(/more than 64 requests/);
  });

  test("end the connection at anything that is not the protocol, and survive any bytes", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.uint8Array({ minLength: 1, maxLength: 200 }), { maxLength: 5 }),
        async pieces => {
          const [left, right] = duplexPair();
          const ended = Promise.withResolvers<void>();
          const peer = new Peer({
            trunk: left,
            callsOn: 1,
            servesOn: 2,
            serves: Runtime,
            handlers: {},
            onClose: () => ended.resolve(),
          });
          right.resume();
          for (const piece of pieces) right.write(framed(2, piece));
          right.end();
          await ended.promise;
          expect(peer.isOpen).toBe(false);
        },
      ),
      { numRuns: 50 },
    );
  });
});

function framed(connection: number, payload: Uint8Array): Buffer {
  const header = Buffer.alloc(8);
  header.writeUInt32BE(connection, 0);
  header.writeUInt32BE(payload.byteLength, 4);
  return Buffer.concat([header, payload]);
}
