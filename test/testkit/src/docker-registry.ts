import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

export interface DockerRegistryOptions {
  /** Directory for its configuration and blobs. */
  readonly directory: string;
  /** Basic authentication; the password is hashed by `htpasswd -B` (apache2-utils), which must be there. */
  readonly basicAuth?: { readonly username: string; readonly password: string };
  /** PEM files. */
  readonly tls?: { readonly certificate: string; readonly key: string };
}

export interface DockerRegistry extends AsyncDisposable {
  /** `127.0.0.1:PORT`. */
  readonly host: string;
  readonly port: number;
}

/** Runs Debian's docker-registry on a free loopback port until it is disposed of. */
export async function startDockerRegistry(options: DockerRegistryOptions): Promise<DockerRegistry> {
  const port = await freePort();
  const configFile = join(options.directory, "registry.yml");
  mkdirSync(join(options.directory, "blobs"), { recursive: true });
  writeFileSync(configFile, configuration(options, port));
  const child = spawn("docker-registry", ["serve", configFile], {
    stdio: ["ignore", "ignore", "pipe"],
    env: { PATH: process.env["PATH"], OTEL_TRACES_EXPORTER: "none" },
  });
  let log = "";
  child.stderr.on("data", chunk => {
    log = (log + chunk).slice(-8_000);
  });
  await waitUntilUp(port, child, () => log);
  return {
    host: `127.0.0.1:${port}`,
    port,
    async [Symbol.asyncDispose]() {
      const ended = new Promise(resolve => child.once("exit", resolve));
      child.kill("SIGKILL");
      if (child.exitCode === null && child.signalCode === null) await ended;
    },
  };
}

function configuration(options: DockerRegistryOptions, port: number): string {
  const lines = [
    "version: 0.1",
    "log: { level: error }",
    `storage: { filesystem: { rootdirectory: ${JSON.stringify(join(options.directory, "blobs"))} }, delete: { enabled: true } }`,
    `http:\n  addr: 127.0.0.1:${port}`,
  ];
  if (options.tls)
    lines.push(
      `  tls: { certificate: ${JSON.stringify(options.tls.certificate)}, key: ${JSON.stringify(options.tls.key)} }`,
    );
  if (options.basicAuth) {
    const file = join(options.directory, "htpasswd");
    const { username, password } = options.basicAuth;
    writeFileSync(file, execFileSync("htpasswd", ["-Bbn", username, password]));
    lines.push(`auth: { htpasswd: { realm: test, path: ${JSON.stringify(file)} } }`);
  }
  return `${lines.join("\n")}\n`;
}

async function waitUntilUp(port: number, child: ChildProcess, log: () => string): Promise<void> {
  for (let attempt = 0; attempt < 200 * Number(process.env["OCID_E2E_PATIENCE"] ?? 1); attempt++) {
    if (child.exitCode !== null) throw new Error(`docker-registry ended at once:\n${log()}`);
    const answered = await fetch(`http://127.0.0.1:${port}/v2/`).then(
      () => true,
      error => /TLS|HPE|socket hang up|other side closed/i.test(String(error.cause ?? error)),
    );
    if (answered) return;
    await sleep(25);
  }
  child.kill("SIGKILL");
  throw new Error(`docker-registry does not answer on port ${port}:\n${log()}`);
}

/** A TCP port of loopback that nobody listens on now. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      server.close(() =>
        address && typeof address === "object" ? resolve(address.port) : reject(new Error("no port")),
      );
    });
  });
}
