import { spawn } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { PassThrough, Readable } from "node:stream";
import { text } from "node:stream/consumers";
import { setTimeout as sleep } from "node:timers/promises";
import { ContainerState } from "@ocid/cri-api";
import { joinSession } from "@ocid/streaming";
import { connectSpdy, type SpdyClientStream } from "@ocid/streaming/testing";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type DaemonUnderTest, eventually, startDaemonUnderTest } from "./daemon-under-test.ts";

let daemon: DaemonUnderTest;
let podId: string;
/** Runs for as long as the tests do, with a server on port 8080. */
let box: string;

beforeAll(async () => {
  daemon = await startDaemonUnderTest();
  await daemon.images.pullImage({ image: { image: daemon.image } });
  podId = (await daemon.runtime.runPodSandbox({ config: daemon.sandboxConfig("streams") })).podSandboxId;
  box = await start("box", ["sh", "-c", "while true; do echo served | nc -l -p 8080 >/dev/null; done"]);
});

afterAll(async () => {
  await daemon[Symbol.asyncDispose]();
});

async function start(name: string, command: string[], more: object = {}): Promise<string> {
  const { containerId } = await daemon.runtime.createContainer({
    podSandboxId: podId,
    sandboxConfig: daemon.sandboxConfig("streams"),
    config: {
      metadata: { name, attempt: 0 },
      image: { image: daemon.image },
      command,
      logPath: `${name}.log`,
      linux: {},
      ...more,
    },
  });
  await daemon.runtime.startContainer({ containerId });
  return containerId;
}

async function execUrl(cmd: string[], more: object = {}): Promise<string> {
  const { url } = await daemon.runtime.exec({ containerId: box, cmd, stdout: true, stderr: true, ...more });
  return url;
}

async function spdy(url: string, types: readonly string[]) {
  const client = await connectSpdy(url, ["v4.channel.k8s.io"]);
  const streams: Record<string, SpdyClientStream> = {};
  for (const type of ["error", ...types]) streams[type] = await client.open({ streamType: type });
  return { client, streams };
}

const processesOf = (marker: string) =>
  readdirSync("/proc").filter(pid => {
    try {
      return /^\d+$/.test(pid) && readFileSync(`/proc/${pid}/cmdline`, "utf8").includes(marker);
    } catch {
      return false;
    }
  });

describe("exec", () => {
  test("over SPDY: both outputs and the exit code", async () => {
    const { streams } = await spdy(await execUrl(["sh", "-c", "echo out; echo err >&2; exit 5"]), [
      "stdout",
      "stderr",
    ]);
    expect(await text(streams["stdout"]!.output)).toBe("out\n");
    expect(await text(streams["stderr"]!.output)).toBe("err\n");
    expect(JSON.parse(await text(streams["error"]!.output)).details.causes[0].message).toBe("5");
  });

  test("over WebSocket: the end of stdin reaches the command, and megabytes come back whole", async () => {
    const stdout = new PassThrough();
    const back = text(stdout);
    const sent = Buffer.alloc(8 * 1024 * 1024, "0123456789abcdef");
    const url = await execUrl(["cat"], { stdin: true, stderr: false });
    expect(await joinSession(url, { stdin: Readable.from([sent]), stdout })).toBe(0);
    stdout.end();
    expect((await back) === sent.toString()).toBe(true);
  });

  test("with a terminal of the client's size, which changes", async () => {
    const { streams } = await spdy(
      await execUrl(
        ["sh", "-c", "trap 'stty size' WINCH; tty; while ! read x; do :; done; stty size; echo bye $x"],
        {
          stdin: true,
          stderr: false,
          tty: true,
        },
      ),
      ["stdin", "stdout", "resize"],
    );
    let said = "";
    streams["stdout"]!.output.on("data", chunk => {
      said += chunk;
    });
    streams["resize"]!.write('{"Width":120,"Height":44}');
    await eventually("the terminal is there", () => said.includes("/dev/pts/"));
    streams["resize"]!.write('{"Width":101,"Height":33}');
    await sleep(200);
    streams["stdin"]!.write("now\n");
    expect(JSON.parse(await text(streams["error"]!.output))).toMatchObject({ status: "Success" });
    expect(said).toContain("33 101\r\n");
    expect(said).toContain("bye now\r\n");
  });

  test("of a command that is not there says so", async () => {
    await expect(joinSession(await execUrl(["nothing-there"]), {})).rejects.toThrow(/nothing-there/);
  });

  test.each([[false], [true]])("ends when its client vanishes (terminal: %s)", async tty => {
    const marker = `777${process.pid}${Number(tty)}`;
    const { client } = await spdy(
      await execUrl(["sleep", marker], { tty, stderr: !tty }),
      tty ? ["stdout", "resize"] : ["stdout", "stderr"],
    );
    await eventually("the command runs", () => processesOf(`sleep\0${marker}`).length > 0);
    client.destroy();
    await eventually("the command has ended", () => processesOf(marker).length === 0);
  });

  test("whose client does not read waits in flat memory", async () => {
    const { client } = await spdy(await execUrl(["cat", "/dev/zero"], { stderr: false }), ["stdout"]);
    const rss = () => {
      const [pid] = processesOf(join(daemon.root, "state"));
      return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))![1]) / 1024;
    };
    await sleep(500);
    const before = rss();
    await sleep(1500);
    expect(rss() - before).toBeLessThan(30);
    client.destroy();
    await eventually("the command has ended", () => processesOf("cat\0/dev/zero").length === 0);
  });

  test("leaves a daemon behind it without waiting for it", async () => {
    const stdout = new PassThrough();
    expect(await joinSession(await execUrl(["sh", "-c", "echo now; sleep 3 &"]), { stdout })).toBe(0);
    expect(stdout.read().toString()).toBe("now\n");
  });

  test("fifty at once", async () => {
    const codes = await Promise.all(
      Array.from({ length: 50 }, async (_, at) =>
        joinSession(await execUrl(["sh", "-c", `exit ${at % 7}`]), {}),
      ),
    );
    expect(codes).toEqual(Array.from({ length: 50 }, (_, at) => at % 7));
  });

  test("of nothing, in nothing, or with impossible streams is refused", async () => {
    await expect(daemon.runtime.exec({ containerId: box, cmd: [], stdout: true })).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
    });
    await expect(
      daemon.runtime.exec({ containerId: "none", cmd: ["x"], stdout: true }),
    ).rejects.toMatchObject({ code: "NOT_FOUND" });
    await expect(execUrl(["x"], { tty: true })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    await expect(execUrl(["x"], { stdout: false, stderr: false })).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
    });
  });
});

describe("attach", () => {
  test("joins stdin and both outputs; with stdin_once its end is the container's", async () => {
    const id = await start("reader", ["sh", "-c", "echo note >&2; cat; echo end"], {
      stdin: true,
      stdinOnce: true,
    });
    const { url } = await daemon.runtime.attach({ containerId: id, stdin: true, stdout: true, stderr: true });
    const stdout = new PassThrough();
    const back = text(stdout);
    await joinSession(url, { stdin: Readable.from([Buffer.from("hello\n")]), stdout });
    stdout.end();
    expect(await back).toBe("hello\nend\n");
    await eventually("the end is known", async () => {
      const { status } = await daemon.runtime.containerStatus({ containerId: id });
      return status?.state === ContainerState.CONTAINER_EXITED;
    });
    await expect(daemon.runtime.attach({ containerId: id, stdout: true })).rejects.toMatchObject({
      code: "FAILED_PRECONDITION",
    });
  });

  test("that ends leaves the container running, with its terminal as it was", async () => {
    const id = await start("shell", ["sh"], { stdin: true, tty: true });
    const { url } = await daemon.runtime.attach({ containerId: id, stdin: true, stdout: true, tty: true });
    const { client, streams } = await spdy(url, ["stdin", "stdout", "resize"]);
    let said = "";
    streams["stdout"]!.output.on("data", chunk => {
      said += chunk;
    });
    streams["resize"]!.write('{"Width":88,"Height":22}');
    await sleep(200);
    streams["stdin"]!.write("stty size\n");
    await eventually("the size is known", () => said.includes("22 88\r\n"));
    client.destroy();
    await sleep(100);
    const { status } = await daemon.runtime.containerStatus({ containerId: id });
    expect(status?.state).toBe(ContainerState.CONTAINER_RUNNING);
  });

  test("after the daemon was killed and started again", async () => {
    const id = await start("survivor", ["cat"], { stdin: true });
    await daemon.kill();
    await daemon.start();
    const { url } = await daemon.runtime.attach({ containerId: id, stdin: true, stdout: true });
    const { client, streams } = await spdy(url, ["stdin", "stdout"]);
    streams["stdin"]!.write("still here\n");
    let said = "";
    streams["stdout"]!.output.on("data", chunk => {
      said += chunk;
    });
    await eventually("it answers", () => said === "still here\n");
    client.destroy();
  });
});

describe("port-forward", () => {
  test("reaches a server in the pod, again and again", async () => {
    const { url } = await daemon.runtime.portForward({ podSandboxId: podId, port: [] });
    const client = await connectSpdy(url, ["portforward.k8s.io"]);
    for (const id of ["0", "1", "2"]) {
      await sleep(200);
      const headers = { port: "8080", requestID: id };
      const error = await client.open({ ...headers, streamType: "error" });
      const data = await client.open({ ...headers, streamType: "data" });
      error.end();
      data.end();
      expect([await text(data.output), await text(error.output)]).toEqual(["served\n", ""]);
    }
    client.destroy();
  });

  test("says that nothing answers", async () => {
    const { url } = await daemon.runtime.portForward({ podSandboxId: podId, port: [] });
    const client = await connectSpdy(url, ["portforward.k8s.io"]);
    const headers = { port: "9", requestID: "0" };
    const error = await client.open({ ...headers, streamType: "error" });
    await client.open({ ...headers, streamType: "data" });
    expect(await text(error.output)).toMatch(/port 9 .*nothing in the pod answers/s);
    client.destroy();
  });

  test("of a pod that is not there is refused", async () => {
    await expect(daemon.runtime.portForward({ podSandboxId: "none", port: [80] })).rejects.toMatchObject({
      code: "NOT_FOUND",
    });
  });
});

describe("ocic", () => {
  const ocic = (...args: string[]) =>
    spawn(join(import.meta.dirname, "../../../apps/ocic/dist/ocic"), [
      "--runtime-endpoint",
      join(daemon.root, "ocid.sock"),
      ...args,
    ]);

  test("exec -i sends input and ends with the exit code", async () => {
    const child = ocic("exec", "-i", box, "sh", "-c", "cat; exit 9");
    child.stdin.end("words");
    const [output, code] = await Promise.all([
      text(child.stdout),
      new Promise(resolve => child.once("exit", resolve)),
    ]);
    expect([output, code]).toEqual(["words", 9]);
  });

  test("port-forward serves a local port", async () => {
    const child = ocic("port-forward", podId, "0:8080");
    let said = "";
    child.stdout.on("data", chunk => {
      said += chunk;
    });
    await eventually("it listens", () => /:\d+ to 8080/.test(said));
    const port = Number(/:(\d+) to/.exec(said)![1]);
    expect(await text(connect(port, "127.0.0.1"))).toBe("served\n");
    child.kill("SIGTERM");
    await new Promise(resolve => child.once("exit", resolve));
  });
});
