import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { mountpointsBelow } from "./temp-root.ts";

/**
 * Vitest's global set-up: temporary files of a run lie in one directory that goes with it, also those of tests that
 * failed or were killed. Nothing is removed while something is mounted there: that is a leak to be looked at, and a
 * removal could reach through it. Short on purpose: socket paths end at 107 bytes.
 */
export function setup(): () => void {
  const before = process.env["TMPDIR"];
  const directory = mkdtempSync(join(tmpdir(), "v-"));
  // As in /tmp itself, a pod with a user namespace may pass through to what a test lets it have.
  chmodSync(directory, 0o711);
  process.env["TMPDIR"] = directory;
  return () => {
    if (before === undefined) delete process.env["TMPDIR"];
    else process.env["TMPDIR"] = before;
    const mounted = mountpointsBelow(directory);
    if (mounted.length > 0) throw new Error(`still mounted after the tests: ${mounted.join(", ")}`);
    rmSync(directory, { recursive: true, force: true, maxRetries: 3, retryDelay: 50 });
  };
}
