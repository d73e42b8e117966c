import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const program = `
import { readFileSync } from "node:fs";
import { limitMalloc, trimMalloc } from "@ocid/host";
const anonymousMiB = () => Number(/^RssAnon:\\s+(\\d+)/m.exec(readFileSync("/proc/self/status", "utf8"))[1]) / 1024;
limitMalloc({ arenas: 2, mappedBytes: 128 * 1024 });
// Pieces of 20 KiB, of which every fortieth is kept: the others leave holes that an allocator cannot give back by itself.
let pieces = Array.from({ length: 4_000 }, () => Buffer.alloc(20 * 1024, 1));
const kept = pieces.filter((_, at) => at % 40 === 39);
pieces = undefined;
const full = anonymousMiB();
let least = full;
for (let round = 0; round < 50 && full - least < 40; round++) {
  globalThis.gc();
  await new Promise(resolve => setTimeout(resolve, 20));
  await trimMalloc();
  least = Math.min(least, anonymousMiB());
}
console.log(Math.round(full - least), kept.length);
`;

test("freed memory between what is kept goes back to the kernel", () => {
  const [freed, kept] = execFileSync(
    process.execPath,
    ["--expose-gc", "--conditions=@ocid/source", "--no-warnings", "--input-type=module", "--eval", program],
    { cwd: fileURLToPath(new URL(".", import.meta.url)), encoding: "utf8" },
  )
    .split(" ")
    .map(Number);
  expect(kept).toBe(100);
  expect(freed).toBeGreaterThanOrEqual(40);
});
