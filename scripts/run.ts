import { spawn } from "node:child_process";
import { dirname, join } from "node:path";

export const repository: string = dirname(import.meta.dirname);

/** The Node that the repository brings; `process.execPath` of anything started by with-node.sh. */
export const node: string = process.execPath;

/** Runs a program with its output shown; rejects when it fails. Tools of the workspace are found by name. */
export function run(
  command: string,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<void> {
  return new Promise((resolve, reject) => {
    const path = `${join(repository, "node_modules/.bin")}:${dirname(node)}:${process.env["PATH"]}:/usr/sbin:/sbin`;
    const child = spawn(command, args, {
      cwd: repository,
      stdio: "inherit",
      env: { ...process.env, PATH: path, ...env },
    });
    child.once("error", reject);
    child.once("exit", (code, signal) => {
      if (code === 0) resolve();
      else reject(new Error(`${command} ${args.join(" ")} failed: ${signal ?? `exit code ${code}`}`));
    });
  });
}

/** Shows a failure in one line and ends with exit code 1. */
export function fail(error: unknown): never {
  console.error(error instanceof Error ? error.message : error);
  process.exit(1);
}
