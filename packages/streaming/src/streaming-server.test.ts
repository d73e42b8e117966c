import { request } from "node:http";
import { type AddressInfo, connect, createServer } from "node:net";
import { duplexPair as createPair, PassThrough, Readable } from "node:stream";
import { text } from "node:stream/consumers";
import { setTimeout as sleep } from "node:timers/promises";
import { OcidError } from "@ocid/base";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import { joinForward } from "./forward-client.ts";
import { joinSession } from "./session-client.ts";
import type { StreamingBackend, StreamingRequest, TerminalSize } from "./streaming-backend.ts";
import { listenForStreams, type StreamingServer } from "./streaming-server.ts";
import { connectSpdy, type SpdyClientStream } from "./testing/spdy-client.ts";

let server: StreamingServer;
let sizes: TerminalSize[];
let aborted: string[];
let written: number;
/** What tells that a connection into the pod has ended. */
let forwarded: Promise<unknown>;

/** Commands of a container that needs none: what each does is said by its name. */
const backend: StreamingBackend = {
  async exec({ argv: [command, argument] }, { stdin, stdout, stderr, resizes }, signal) {
    switch (command) {
      case "cat":
        for await (const chunk of stdin!)
          if (!stdout!.write(chunk)) await new Promise(done => stdout!.once("drain", done));
        return { exitCode: 0 };
      case "late-cat":
        await sleep(300);
        for await (const chunk of stdin!)
          if (!stdout!.write(chunk)) await new Promise(done => stdout!.once("drain", done));
        return { exitCode: 0 };
      case "exit":
        stdout?.write("out");
        stderr?.write("err");
        return { exitCode: Number(argument) };
      case "sizes":
        for await (const size of resizes!) if (sizes.push(size) === 2) break;
        return { exitCode: 0 };
      case "sleep":
        await new Promise(done => signal.addEventListener("abort", done));
        aborted.push(signal.reason.code);
        throw signal.reason;
      case "flood":
        for (written = 0; written < 512 * 1024 * 1024 && !signal.aborted; written += 65_536)
          if (!stdout!.write(Buffer.alloc(65_536)))
            await new Promise(done => {
              stdout!.once("drain", done);
              signal.addEventListener("abort", done, { once: true });
            });
        return { exitCode: 0 };
      default:
        throw new OcidError("NOT_FOUND", `command ${command} cannot be run`);
    }
  },
  async attach(_, { stdin, stdout }) {
    for await (const chunk of stdin!) stdout!.write(chunk.toString().toUpperCase());
  },
  async portForward({ port }) {
    if (port === 7) {
      // Like a program that accepts and never reads.
      const [ours, pods] = createPair();
      forwarded = new Promise(done => ours.once("close", done));
      pods.pause();
      return ours;
    }
    const socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true });
    await new Promise<void>((resolve, reject) => {
      socket.once("connect", resolve);
      socket.once("error", () => reject(new OcidError("UNAVAILABLE", `nothing answers on port ${port}`)));
    });
    return socket;
  },
};

beforeEach(async () => {
  sizes = [];
  aborted = [];
  server = await listenForStreams(backend, { probeMs: 20 });
});
afterEach(() => server[Symbol.asyncDispose]());

function exec(
  argv: readonly string[],
  more: Partial<Extract<StreamingRequest, { kind: "exec" }>> = {},
): string {
  return server.issue({
    kind: "exec",
    containerId: "c",
    argv,
    tty: false,
    stdin: false,
    stdout: true,
    stderr: true,
    ...more,
  });
}

async function spdyExec(url: string, types: readonly string[], protocol = "v4.channel.k8s.io") {
  const client = await connectSpdy(url, [protocol]);
  const streams: Record<string, SpdyClientStream> = {};
  for (const type of ["error", ...types]) streams[type] = await client.open({ streamType: type });
  return { client, streams };
}

describe("exec over SPDY", () => {
  test("carries output, error output and the exit code", async () => {
    const { client, streams } = await spdyExec(exec(["exit", "3"]), ["stdout", "stderr"]);
    expect(await text(streams["stdout"]!.output)).toBe("out");
    expect(await text(streams["stderr"]!.output)).toBe("err");
    expect(JSON.parse(await text(streams["error"]!.output))).toMatchObject({
      status: "Failure",
      reason: "NonZeroExitCode",
      details: { causes: [{ reason: "ExitCode", message: "3" }] },
    });
    await client.closed;
  });

  test("older protocols get a sentence, and nothing for success", async () => {
    for (const [code, said] of [
      ["0", ""],
      ["2", "command terminated with non-zero exit code: exit status 2"],
    ] as const) {
      const { streams } = await spdyExec(exec(["exit", code]), ["stdout", "stderr"], "v2.channel.k8s.io");
      expect(await text(streams["error"]!.output)).toBe(said);
    }
  });

  test("a command that cannot be run is told with its reason", async () => {
    const { streams } = await spdyExec(exec(["nothing"]), ["stdout", "stderr"]);
    expect(JSON.parse(await text(streams["error"]!.output))).toMatchObject({
      reason: "InternalError",
      message: "command nothing cannot be run",
    });
  });

  test("the end of stdin alone ends the command, and every byte comes back", async () => {
    const { streams } = await spdyExec(exec(["cat"], { stdin: true, stderr: false }), ["stdin", "stdout"]);
    const sent = Buffer.alloc(3_000_000, "0123456789");
    const back = text(streams["stdout"]!.output);
    streams["stdin"]!.write(sent);
    streams["stdin"]!.end();
    expect(await back).toBe(sent.toString());
    expect(JSON.parse(await text(streams["error"]!.output))).toMatchObject({ status: "Success" });
  });

  test("terminal sizes arrive", async () => {
    const url = exec(["sizes"], { tty: true, stderr: false });
    const { streams } = await spdyExec(url, ["stdout", "resize"]);
    streams["resize"]!.write('{"Width":80,"Height":24}\n');
    while (sizes.length < 1) await sleep(5);
    streams["resize"]!.write('{"Width":0,"Height":1}{"Width":100,"Hei');
    streams["resize"]!.write('ght":30}');
    await text(streams["error"]!.output);
    expect(sizes).toEqual([
      { width: 80, height: 24 },
      { width: 100, height: 30 },
    ]);
  });

  test("a client that vanishes ends the command", async () => {
    const { client } = await spdyExec(exec(["sleep"]), ["stdout", "stderr"]);
    await sleep(50);
    client.destroy();
    while (aborted.length === 0) await sleep(5);
    expect(aborted).toEqual(["CANCELLED"]);
  });

  test("a client that does not read holds the command up", async () => {
    const { client } = await spdyExec(exec(["flood"], { stderr: false }), ["stdout"]);
    await sleep(300);
    expect(written).toBeGreaterThan(0);
    expect(written).toBeLessThan(64 * 1024 * 1024);
    client.destroy();
  });

  test("a client that does not open its streams is cut off", async () => {
    await using strict = await listenForStreams(backend, { creationTimeoutMs: 100 });
    const request = { kind: "exec", containerId: "c", argv: ["sleep"], tty: false, stdin: false } as const;
    const { client } = await spdyExec(strict.issue({ ...request, stdout: true, stderr: true }), ["stdout"]);
    await client.closed;
  });

  test("streams that were not asked for are refused", async () => {
    const { streams } = await spdyExec(exec(["exit", "0"], { stderr: false }), ["stdin", "stdout"]);
    expect(await text(streams["stdin"]!.output)).toBe("");
    expect(await text(streams["stdout"]!.output)).toBe("out");
  });

  test("a protocol that is not served is refused with those that are", async () => {
    await expect(connectSpdy(exec(["exit", "0"]), ["v9.channel.k8s.io"])).rejects.toThrow(
      /403: .*v4\.channel\.k8s\.io/,
    );
  });
});

describe("exec over WebSocket", () => {
  test("carries output and the exit code", async () => {
    const [stdout, stderr] = [new PassThrough(), new PassThrough()];
    expect(await joinSession(exec(["exit", "7"]), { stdout, stderr })).toBe(7);
    expect([stdout.read().toString(), stderr.read().toString()]).toEqual(["out", "err"]);
  });

  test("closes stdin by itself", async () => {
    const stdout = new PassThrough();
    const back = text(stdout);
    const stdin = Readable.from([Buffer.alloc(1_000_000, "a"), Buffer.from("end")]);
    expect(await joinSession(exec(["cat"], { stdin: true, stderr: false }), { stdin, stdout })).toBe(0);
    stdout.end();
    expect(await back).toBe(`${"a".repeat(1_000_000)}end`);
  });

  test("a failure is the client's error", async () => {
    await expect(joinSession(exec(["nothing"]), {})).rejects.toMatchObject({
      message: "command nothing cannot be run",
    });
  });

  test.each([["v4.base64.channel.k8s.io"], ["base64.channel.k8s.io"], ["channel.k8s.io"]])(
    "%s",
    async protocol => {
      const socket = new WebSocket(exec(["exit", "1"]).replace("http", "ws"), [protocol]);
      const messages: string[] = [];
      socket.on("message", data => messages.push(data.toString("latin1")));
      await new Promise(resolve => socket.once("close", resolve));
      const decode = (message: string) =>
        protocol.includes("base64")
          ? [message[0], Buffer.from(message.slice(1), "base64").toString()]
          : [String(message.charCodeAt(0)), message.slice(1)];
      const of = (channel: string) =>
        messages
          .map(decode)
          .filter(([number]) => number === channel)
          .map(([, data]) => data)
          .join("");
      expect([of("1"), of("2")]).toEqual(["out", "err"]);
      expect(of("3")).toContain("exit status 1");
    },
  );

  test("a client that vanishes ends the command", async () => {
    const controller = new AbortController();
    const session = joinSession(exec(["sleep"]), { signal: controller.signal });
    await sleep(100);
    controller.abort(new OcidError("CANCELLED", "enough"));
    await expect(session).rejects.toThrow("enough");
    while (aborted.length === 0) await sleep(5);
  });
});

test("attach carries both directions", async () => {
  const stdout = new PassThrough();
  const url = server.issue({
    kind: "attach",
    containerId: "c",
    tty: false,
    stdin: true,
    stdout: true,
    stderr: false,
  });
  expect(await joinSession(url, { stdin: Readable.from([Buffer.from("hello")]), stdout })).toBe(0);
  expect(stdout.read().toString()).toBe("HELLO");
});

describe("port-forward", () => {
  let port: number;
  const echo = createServer({ allowHalfOpen: true }, socket => {
    socket.on("error", () => {});
    // Answers only when the client's half has ended.
    const chunks: Buffer[] = [];
    socket.on("data", (chunk: Buffer) => chunks.push(chunk));
    socket.on("end", () => socket.end(`${Buffer.concat(chunks)} back`));
  });
  beforeEach(async () => {
    await new Promise<void>(resolve => echo.listen(0, "127.0.0.1", resolve));
    port = (echo.address() as AddressInfo).port;
  });
  afterEach(() => new Promise(resolve => echo.close(resolve)));
  const issue = (ports: readonly number[] = []) =>
    server.issue({ kind: "portforward", sandboxId: "p", ports });

  test("over SPDY joins pairs of streams, each half of which ends by itself", async () => {
    const client = await connectSpdy(issue(), ["portforward.k8s.io"]);
    for (const id of ["0", "1"]) {
      const headers = { port: String(port), requestID: id };
      const error = await client.open({ ...headers, streamType: "error" });
      const data = await client.open({ ...headers, streamType: "data" });
      error.end();
      data.write(`hello ${id}`);
      data.end();
      expect(await text(data.output)).toBe(`hello ${id} back`);
      expect(await text(error.output)).toBe("");
    }
    client.destroy();
  });

  test("says on the error stream that nothing answers", async () => {
    const client = await connectSpdy(issue(), ["portforward.k8s.io"]);
    const headers = { port: "1", requestID: "0" };
    const error = await client.open({ ...headers, streamType: "error" });
    await client.open({ ...headers, streamType: "data" });
    expect(await text(error.output)).toBe("error forwarding port 1 to pod p: nothing answers on port 1");
    client.destroy();
  });

  test("over WebSocket channels", async () => {
    const answering = createServer(socket => socket.on("data", data => socket.end(`${data} back`)));
    await new Promise<void>(resolve => answering.listen(0, "127.0.0.1", resolve));
    const target = (answering.address() as AddressInfo).port;
    const outer = duplexPair();
    const joined = joinForward(issue([target]), outer.inner);
    outer.write("hello");
    expect(await outer.read()).toBe("hello back");
    await joined;
    await new Promise(resolve => answering.close(resolve));
  });

  test("over WebSocket channels says that nothing answers", async () => {
    await expect(joinForward(issue([1]), duplexPair().inner)).rejects.toThrow(/nothing answers on port 1/);
  });
});

describe("URLs", () => {
  test("work once, for their own kind, and no other can be guessed", async () => {
    const url = exec(["exit", "0"]);
    expect(await joinSession(url, {})).toBe(0);
    await expect(joinSession(url, {})).rejects.toThrow(/404/);
    await expect(connectSpdy(exec(["exit", "0"]).replace("/exec/", "/attach/"), [])).rejects.toThrow(/404/);
    await expect(connectSpdy(url.replace(/[^/]+$/, "x".repeat(22)), [])).rejects.toThrow(/404/);
    await expect(connectSpdy(url.replace(/\/exec\/.*/, "/"), [])).rejects.toThrow(/404/);
  });

  test("without an upgrade get 400", async () => {
    const status = await new Promise(resolve =>
      request(exec(["exit", "0"]), response => resolve(response.statusCode)).end(),
    );
    expect(status).toBe(400);
  });

  test("are not issued for sessions that cannot be", () => {
    expect(() => exec(["x"], { tty: true, stderr: true })).toThrow(/tty and stderr/);
    expect(() => exec(["x"], { stdout: false, stderr: false })).toThrow(/at least one/);
  });
});

/** Two ends of a pipe: `inner` is given away, the other is driven by the test. */
function duplexPair() {
  const pair = createPair();
  return {
    inner: pair[0],
    write: (data: string) => pair[1].write(data),
    read: () => text(pair[1]),
  };
}

describe("a client that has gone while its connection is not read, because nobody takes its input", () => {
  const input = Buffer.alloc(8 * 1024 * 1024);
  const isAborted = async () => {
    while (aborted.length === 0) await sleep(5);
    expect(aborted).toEqual(["CANCELLED"]);
  };

  test("over SPDY", async () => {
    const { client, streams } = await spdyExec(exec(["sleep"], { stdin: true }), [
      ...["stdin", "stdout", "stderr"],
    ]);
    streams["stdin"]!.write(input);
    await sleep(200);
    expect(aborted).toEqual([]);
    client.destroy();
    await isAborted();
  });

  test("over WebSocket", async () => {
    const client = new WebSocket(exec(["sleep"], { stdin: true }), ["v5.channel.k8s.io"]);
    await new Promise(done => client.once("open", done));
    client.send(Buffer.concat([Buffer.of(0), input]));
    await sleep(200);
    expect(aborted).toEqual([]);
    client.terminate();
    await isAborted();
  });

  test("in a port-forward over SPDY", async () => {
    const client = await connectSpdy(server.issue({ kind: "portforward", sandboxId: "s", ports: [] }), [
      "portforward.k8s.io",
    ]);
    await client.open({ streamType: "error", port: "7", requestID: "0" });
    const data = await client.open({ streamType: "data", port: "7", requestID: "0" });
    data.write(input);
    await sleep(200);
    client.destroy();
    await forwarded;
  });

  test("in a port-forward over WebSocket", async () => {
    const client = new WebSocket(server.issue({ kind: "portforward", sandboxId: "s", ports: [7] }), [
      "v4.channel.k8s.io",
    ]);
    await new Promise(done => client.once("open", done));
    client.send(Buffer.concat([Buffer.of(0), input]));
    await sleep(200);
    client.terminate();
    await forwarded;
  });
});

test("a client that is there is not taken for gone, however long nobody takes its input", async () => {
  const { client, streams } = await spdyExec(exec(["late-cat"], { stdin: true }), [
    ...["stdin", "stdout", "stderr"],
  ]);
  const sent = Buffer.alloc(2 * 1024 * 1024, "x");
  streams["stdin"]!.write(sent);
  streams["stdin"]!.end();
  expect((await text(streams["stdout"]!.output)).length).toBe(sent.byteLength);
  await client.closed;
  expect(aborted).toEqual([]);
});
