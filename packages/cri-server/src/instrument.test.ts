import { EventEmitter } from "node:events";
import type { handleUnaryCall } from "@grpc/grpc-js";
import { silentLogger } from "@ocid/base";
import { type CallContext, RuntimeService } from "@ocid/cri-api";
import { expect, test } from "vitest";
import { instrument } from "./instrument.ts";

/** A call of `Version` whose handler waits until it may answer. */
function versionCall() {
  const { promise: mayAnswer, resolve: answer } = Promise.withResolvers<void>();
  let signal: AbortSignal | undefined;
  const version = async (_: unknown, context: CallContext) => {
    ({ signal } = context);
    await mayAnswer;
    return {};
  };
  const call = Object.assign(new EventEmitter(), {
    request: {},
    getDeadline: () => Number.POSITIVE_INFINITY,
  });
  const { version: handle } = instrument(RuntimeService, { version }, silentLogger);
  const answered = new Promise(resolve =>
    (handle as handleUnaryCall<unknown, unknown>)(call as never, (error, value) => resolve(error ?? value)),
  );
  return { call, answer, answered, signal: () => signal };
}

test("a handler is told when its caller has gone", async () => {
  const { call, answer, answered, signal } = versionCall();
  await new Promise(setImmediate);
  call.emit("cancelled");
  expect(signal()?.reason).toMatchObject({ code: "CANCELLED" });
  answer();
  await answered;
});

test("that the stream of a call is closed once it was answered cancels nothing", async () => {
  const { call, answer, answered, signal } = versionCall();
  answer();
  expect(await answered).toEqual({});
  call.emit("cancelled");
  expect(signal()?.aborted).toBe(false);
});
