import { execFile, execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const fetchScript = fileURLToPath(new URL("../../../scripts/fetch-cosign.sh", import.meta.url));

export interface Cosign extends Disposable {
  /** Runs cosign in its directory, without a network beyond loopback; rejects with what it says on standard error. */
  run(...args: readonly string[]): Promise<{ readonly stdout: string; readonly stderr: string }>;
  /** Makes `NAME.key`, encrypted with `password`, and `NAME.pub`. */
  makeKey(name: string): Promise<{ readonly key: string; readonly publicKey: string }>;
  readonly directory: string;
  /** Of its process; tests may add to it. */
  readonly env: Record<string, string | undefined>;
  readonly password: string;
}

/** Debian unstable's cosign, fetched into the user's cache where it is missing. */
export function openCosign(): Cosign {
  const path = execFileSync("sh", [fetchScript], { encoding: "utf8" }).trim();
  const directory = mkdtempSync(join(tmpdir(), "ocid-cosign-"));
  const password = "a password";
  const env: Cosign["env"] = { PATH: process.env["PATH"], HOME: directory, COSIGN_PASSWORD: password };
  const run = (...args: readonly string[]) => promisify(execFile)(path, args, { env, cwd: directory });
  return {
    run,
    directory,
    env,
    password,
    async makeKey(name) {
      await run("generate-key-pair", "--output-key-prefix", name);
      return { key: join(directory, `${name}.key`), publicKey: join(directory, `${name}.pub`) };
    },
    [Symbol.dispose]: () => rmSync(directory, { recursive: true, force: true }),
  };
}
