import { cleanEnvironment, openPseudoTerminal, spawnProcess } from "@ocid/host";
import { expect, test } from "vitest";

test("a child has a terminal of the given size, and its end is seen", async () => {
  using terminal = openPseudoTerminal();
  terminal.resize({ width: 91, height: 17 });
  const { childFd } = terminal;
  const child = spawnProcess({
    path: "/bin/sh",
    argv: ["sh", "-c", "tty; stty size; read line; echo got $line"],
    env: cleanEnvironment(),
    stdio: [childFd, childFd, childFd],
    newSession: true,
  });
  terminal.release();
  let said = "";
  terminal.master.on("data", chunk => {
    said += chunk;
  });
  const closed = new Promise(resolve => terminal.master.once("close", resolve));
  terminal.master.write("word\n");
  expect((await child.exited).code).toBe(0);
  await closed;
  expect(said).toMatch(/\/dev\/pts\/\d+\r\n17 91\r\n/);
  expect(said).toContain("got word\r\n");
});

test("a terminal that nobody reads does not hold this process up", async () => {
  using terminal = openPseudoTerminal();
  const { childFd } = terminal;
  const child = spawnProcess({
    path: "/bin/sh",
    argv: ["sh", "-c", "stty raw; exec sleep 10"],
    env: cleanEnvironment(),
    stdio: [childFd, childFd, childFd],
    newSession: true,
  });
  terminal.release();
  await new Promise(resolve => setTimeout(resolve, 100));
  expect(terminal.master.write(Buffer.alloc(1024 * 1024))).toBe(false);
  // Reached at all, although the kernel takes only a few kilobytes.
  child.kill("SIGKILL");
  expect((await child.exited).signal).toBe("SIGKILL");
});
