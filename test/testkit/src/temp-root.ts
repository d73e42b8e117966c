import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/**
 * A directory of a test's own, removed with everything mounted below it. Short on purpose: socket paths end at 107
 * bytes.
 */
export function tempRoot(
  prefix = "ocid-",
): { readonly path: string; remove(): void } & Disposable & AsyncDisposable {
  const path = realpathSync(mkdtempSync(join(tmpdir(), prefix)));
  const remove = () => {
    unmountBelow(path);
    rmSync(path, { recursive: true, force: true, maxRetries: 3, retryDelay: 50 });
  };
  return { path, remove, [Symbol.dispose]: remove, [Symbol.asyncDispose]: async () => remove() };
}

/** Lazily unmounts everything at or below a directory, the innermost first. */
export function unmountBelow(directory: string): void {
  for (const mountpoint of mountpointsBelow(directory).reverse()) {
    try {
      execFileSync("umount", ["-l", mountpoint], { stdio: "ignore" });
    } catch {
      // Its parent may have taken it along.
    }
  }
}

/** Mount points at or below a directory, in the order in which they were mounted. */
export function mountpointsBelow(directory: string): string[] {
  const found: string[] = [];
  for (const line of readFileSync("/proc/self/mountinfo", "utf8").split("\n")) {
    const field = line.split(" ")[4];
    if (field === undefined) continue;
    const path = field.replace(/\\([0-7]{3})/g, (_, octal: string) =>
      String.fromCharCode(Number.parseInt(octal, 8)),
    );
    if (path === directory || path.startsWith(`${directory}/`)) found.push(path);
  }
  return found;
}
