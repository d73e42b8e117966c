import { execFileSync } from "node:child_process";
import fs from "node:fs";
import { syncBuiltinESMExports } from "node:module";

// Loaded before a program (`--import`): counts the calls that change something below CRASH_ROOT, and kills the process
// with SIGKILL before the call of number CRASH_AT. The count goes to CRASH_COUNT at the end. With CRASH_POWER, the file
// system mounted there loses its power first; CRASH_CUT is a file that says so, because another thread of the process may
// see that before the signal comes, and end it with an error.

const root = process.env["CRASH_ROOT"] ?? "/nonexistent";
const at = Number(process.env["CRASH_AT"] ?? 0);
let count = 0;

function point(name: string, args: readonly unknown[]): void {
  if (!args.some(arg => typeof arg === "string" && arg.startsWith(root))) return;
  if (++count !== at) return;
  fs.writeSync(2, `killed before ${name} ${String(args[0]).slice(root.length)}\n`);
  const power = process.env["CRASH_POWER"];
  if (power) {
    fs.writeFileSync(process.env["CRASH_CUT"] ?? "", "");
    execFileSync("perl", ["-e", process.env["CRASH_POWER_PROGRAM"] ?? "die", power]);
  }
  process.kill(process.pid, "SIGKILL");
  for (;;);
}

function intercept(target: Record<string, unknown>, names: readonly string[]): void {
  for (const name of names) {
    const original = target[name] as (...args: unknown[]) => unknown;
    target[name] = (...args: unknown[]) => {
      point(name, args);
      return original.apply(target, args);
    };
  }
}

const changing = ["rename", "mkdir", "rm", "symlink", "writeFile", "chmod", "chown", "unlink"];
intercept(
  fs as unknown as Record<string, unknown>,
  changing.map(name => `${name}Sync`),
);
intercept(fs.promises as unknown as Record<string, unknown>, changing);
// Opening, to write or to sync, is a step of its own.
intercept(fs as unknown as Record<string, unknown>, ["openSync"]);
syncBuiltinESMExports();

process.on("exit", () => {
  if (process.env["CRASH_COUNT"]) fs.writeFileSync(process.env["CRASH_COUNT"], String(count));
});
