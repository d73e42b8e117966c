import { createServer, type Socket } from "node:net";
import { messageOf, OcidError } from "@ocid/base";
import { joinForward, joinSession, type TerminalSize } from "@ocid/streaming";
import type { Command } from "commander";
import { ExitWith } from "../exit-code.ts";
import { type GlobalOptions, runtimeClient } from "../global-options.ts";
import { print } from "../output/output.ts";

interface SessionFlags {
  readonly interactive?: boolean;
  readonly tty?: boolean;
}

/** Runs a command in a container with this terminal's streams; ends with its exit code. */
export async function execInteractively(
  id: string,
  argv: readonly string[],
  flags: SessionFlags,
  options: GlobalOptions,
): Promise<void> {
  using client = await runtimeClient(options);
  const tty = flags.tty ?? false;
  const { url } = await client.exec({
    containerId: id,
    cmd: [...argv],
    tty,
    stdin: flags.interactive ?? false,
    stdout: true,
    stderr: !tty,
  });
  const exitCode = await joinWithTerminal(url, flags);
  if (exitCode !== 0) throw new ExitWith(exitCode);
}

/** What joins a client's terminal with containers and pods. */
export function addSessionCommands(program: Command): void {
  program
    .command("attach <container>")
    .description("join a running container's own streams")
    .option("-i, --interactive", "send this terminal's input")
    .action(async (id: string, flags: SessionFlags, command: Command) => {
      using client = await runtimeClient(command.optsWithGlobals<GlobalOptions>());
      const { info } = await client.containerStatus({ containerId: id, verbose: true });
      const tty = /"tty":\s*true/.test(info["config"] ?? "");
      const stdin = flags.interactive ?? false;
      const { url } = await client.attach({ containerId: id, tty, stdin, stdout: true, stderr: !tty });
      await joinWithTerminal(url, { interactive: stdin, tty });
    });
  program
    .command("port-forward <pod> <ports...>")
    .description(
      "listen on this machine and forward to ports of a pod: PORT, or LOCAL:PORT (0 takes a free one)",
    )
    .option("--address <address>", "where to listen", "127.0.0.1")
    .action(async (pod: string, ports: string[], flags: { address: string }, command: Command) => {
      using client = await runtimeClient(command.optsWithGlobals<GlobalOptions>());
      const forward = async (socket: Socket, port: number) => {
        try {
          const { url } = await client.portForward({ podSandboxId: pod, port: [port] });
          await joinForward(url, socket);
        } catch (error) {
          process.stderr.write(`port ${port}: ${messageOf(error)}\n`);
          socket.destroy();
        }
      };
      for (const text of ports) {
        const { local, remote } = parsePorts(text);
        const server = createServer(socket => void forward(socket, remote));
        const port = await listen(server, local, flags.address);
        print(`forwarding from ${flags.address}:${port} to ${remote}\n`);
      }
      await new Promise(resolve => process.once("SIGINT", resolve).once("SIGTERM", resolve));
      throw new ExitWith(0);
    });
}

async function joinWithTerminal(url: string, flags: SessionFlags): Promise<number> {
  const raw = flags.tty && flags.interactive && process.stdin.isTTY;
  if (raw) process.stdin.setRawMode(true);
  try {
    return await joinSession(url, {
      ...(flags.interactive ? { stdin: process.stdin } : {}),
      stdout: process.stdout,
      stderr: process.stderr,
      ...(flags.tty && process.stdout.isTTY ? { resizes: terminalSizes() } : {}),
    });
  } finally {
    if (raw) process.stdin.setRawMode(false);
    // A terminal that is still read would keep the program from ending.
    process.stdin.destroy();
  }
}

async function* terminalSizes(): AsyncGenerator<TerminalSize> {
  for (;;) {
    yield { width: process.stdout.columns, height: process.stdout.rows };
    await new Promise(resolve => process.stdout.once("resize", resolve));
  }
}

function parsePorts(text: string): { readonly local: number; readonly remote: number } {
  const match = /^(?:(\d{1,5}):)?(\d{1,5})$/.exec(text);
  const [local, remote] = [Number(match?.[1] ?? match?.[2]), Number(match?.[2])];
  if (!match || remote < 1 || remote > 65_535 || local > 65_535)
    throw new OcidError(
      "INVALID_ARGUMENT",
      `ports should be PORT or LOCAL:PORT, found ${JSON.stringify(text)}`,
    );
  return { local, remote };
}

function listen(server: ReturnType<typeof createServer>, port: number, address: string): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once("error", error =>
      reject(new OcidError("FAILED_PRECONDITION", `cannot listen on ${address}:${port}: ${error.message}`)),
    );
    server.listen(port, address, () => {
      const bound = server.address();
      resolve(typeof bound === "object" && bound ? bound.port : port);
    });
  });
}
