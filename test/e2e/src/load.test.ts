import { existsSync, renameSync, rmSync, statSync } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { join } from "node:path";
import { duplexPair, PassThrough } from "node:stream";
import { text } from "node:stream/consumers";
import { setTimeout as sleep } from "node:timers/promises";
import { joinForward, joinSession } from "@ocid/streaming";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type DaemonUnderTest, startDaemonUnderTest } from "./daemon-under-test.ts";
import { podActions } from "./pod-actions.ts";

/** OCID_EXHAUSTIVE=1 for five minutes. */
const loadMs = process.env["OCID_EXHAUSTIVE"] ? 300_000 : 12_000;
const [execs, followers, forwards] = [50, 20, 10];
/** What a daemon whose heap is as large as it gets may still gain. */
const slackMiB = 48;

let daemon: DaemonUnderTest;
const { pod, started } = podActions(() => daemon);

beforeAll(async () => {
  daemon = await startDaemonUnderTest();
  await daemon.images.pullImage({ image: { image: daemon.image } });
});

afterAll(async () => {
  await daemon[Symbol.asyncDispose]();
});

test(`${execs} execs, ${followers} followed logs and ${forwards} port-forwards for ${loadMs / 1000} s: no error, memory stays flat`, {
  timeout: loadMs + 240_000,
}, async () => {
  const p = await pod("load");
  const server = await started(p, "server", {}, ["httpd", "-f", "-p", "8080", "-h", "/www"]);
  const counting = "n=0; while :; do n=$((n+1)); echo $n; usleep 20000; done";
  const talker = await started(p, "talker", {}, ["sh", "-c", counting]);
  const log = join(daemon.root, "logs/load/talker.log");
  const end = performance.now() + loadMs;
  const counts = { execs: 0, lines: 0, forwards: 0, rotations: 0 };
  const going = () => performance.now() < end;
  /** A number that the talker has said when the time was over; all who follow come to it, with none left out. */
  let lastSaid: number | undefined;

  const exec = async (worker: number) => {
    for (let round = 0; going(); round++, counts.execs++) {
      const stdout = new PassThrough();
      const heard = text(stdout);
      const { url } = await daemon.runtime.exec({
        containerId: server,
        cmd: ["sh", "-c", `cat; exit ${worker % 5}`],
        stdin: true,
        stdout: true,
        stderr: true,
      });
      const stdin = new PassThrough();
      const code = joinSession(url, { stdin, stdout });
      stdin.end(`${worker} ${round}`);
      expect(await code).toBe(worker % 5);
      stdout.end();
      expect(await heard).toBe(`${worker} ${round}`);
    }
  };
  const forward = async () => {
    for (; going(); counts.forwards++) {
      const { url } = await daemon.runtime.portForward({ podSandboxId: p.id, port: [8080] });
      const [near, far] = duplexPair();
      const answer = text(far);
      far.write("GET /index.html HTTP/1.0\r\n\r\n");
      await joinForward(url, near);
      expect(await answer).toContain("hello from ocid");
    }
  };
  const follow = async () => {
    let expected = 1;
    for await (const line of linesOf(log, () => lastSaid === undefined || expected <= lastSaid)) {
      expect(line).toBe(String(expected));
      expected++;
      counts.lines++;
    }
  };
  const rotate = async () => {
    for (; going(); counts.rotations++) {
      await sleep(loadMs / 6);
      rmSync(`${log}.old`, { force: true });
      renameSync(log, `${log}.old`);
      await daemon.runtime.reopenContainerLog({ containerId: talker });
    }
    for await (const line of linesOf(log, () => lastSaid === undefined)) lastSaid = Number(line);
  };
  const memory: number[] = [];
  const measure = async () => {
    for (; going(); await sleep(loadMs / 60)) memory.push(daemon.memoryMiB());
  };
  await Promise.all([
    ...Array.from({ length: execs }, (_, worker) => exec(worker)),
    ...Array.from({ length: forwards }, forward),
    ...Array.from({ length: followers }, follow),
    rotate(),
    measure(),
  ]);
  console.log(`${JSON.stringify(counts)}, MiB: ${memory.map(Math.round).join(" ")}`);
  expect(counts.execs).toBeGreaterThan(execs);
  expect(counts.forwards).toBeGreaterThan(forwards);
  // The first third is for the heap to grow to what the load needs.
  const settled = Math.max(...memory.slice(0, memory.length / 3));
  expect(Math.max(...memory.slice(memory.length / 3)) - settled).toBeLessThan(slackMiB);
});

/** What a container has said, line by line, as it is written and through rotations, as a kubelet follows a log. */
async function* linesOf(path: string, going: () => boolean): AsyncGenerator<string> {
  let file: FileHandle | undefined;
  let inode = 0;
  let rest = "";
  const buffer = Buffer.alloc(64 * 1024);
  try {
    while (going()) {
      if (!file && existsSync(path)) {
        file = await open(path);
        inode = (await file.stat()).ino;
      }
      const bytesRead = file ? (await file.read(buffer)).bytesRead : 0;
      if (bytesRead > 0) {
        const lines = (rest + buffer.toString("utf8", 0, bytesRead)).split("\n");
        rest = lines.pop()!;
        // `TIME stdout F text`
        for (const line of lines) yield line.split(" ").slice(3).join(" ");
        continue;
      }
      // Read to its end, and another one stands in its place: nothing more comes into this one.
      if (file && statSync(path, { throwIfNoEntry: false })?.ino !== inode && existsSync(path)) {
        const more = (await file.read(buffer)).bytesRead;
        if (more > 0) {
          rest += buffer.toString("utf8", 0, more);
          continue;
        }
        await file.close();
        file = undefined;
      } else await sleep(50);
    }
  } finally {
    await file?.close();
  }
}
