import { afterEach, beforeEach, expect, test, vi } from "vitest";

let written = "";
vi.mock("./output.ts", () => ({
  writeAll: (_: number, bytes: Uint8Array) => {
    written += Buffer.from(bytes).toString();
  },
}));
const { ProgressDisplay } = await import("./progress.ts");

const layer = (digest: string, bytes: number, state = "bytes") => ({
  digest: `sha256:${digest.padEnd(64, "0")}`,
  size: 4_000_000,
  bytes,
  state,
});
const sum = (copiedBytes: number) => ({
  copiedBytes,
  totalBytes: 8_000_000,
  bytesPerSecond: 2_000_000,
  secondsLeft: 2,
});
const terminal = process.stderr.isTTY;

beforeEach(() => {
  written = "";
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
  process.stderr.isTTY = terminal;
});

test("a terminal shows bytes, rate and time left of each layer and of all, and is drawn again in place", () => {
  process.stderr.isTTY = true;
  const display = new ProgressDisplay();
  display.show({ ...sum(0), layers: [layer("a", 0, "start"), layer("b", 4_000_000, "skipped")] });
  vi.advanceTimersByTime(1_000);
  written = "";
  display.show({ ...sum(1_000_000), layers: [layer("a", 1_000_000), layer("b", 4_000_000, "skipped")] });
  expect(written.startsWith("\x1b[3A")).toBe(true);
  expect(written).toMatch(/a00000000000 {2}\[={6} +\] {2}1\.00 MB of 4\.00 MB, 1\.00 MB\/s, 3 s left\n/);
  expect(written).toMatch(/b00000000000 {2}\[={24}\] {2}is here already\n/);
  expect(written).toMatch(/1\.00 MB of 8\.00 MB, 2\.00 MB\/s, 2 s left\n$/);
});

test("a pipe gets a line for each finished layer, once, and one for the sum", () => {
  process.stderr.isTTY = false;
  const display = new ProgressDisplay();
  display.show({ ...sum(1), layers: [layer("a", 1)] });
  display.show({ ...sum(4_000_000), layers: [layer("a", 4_000_000, "done")] });
  display.show({
    ...sum(8_000_000),
    layers: [layer("a", 4_000_000, "done"), layer("b", 4_000_000, "skipped")],
  });
  vi.advanceTimersByTime(4_000);
  display.end();
  expect(written).toBe(
    "a00000000000  done, 4.00 MB\nb00000000000  is here already\n8.00 MB in 4.0 s, 2.00 MB/s\n",
  );
});

test("a program gets each state as a line of JSON", () => {
  const display = new ProgressDisplay(true);
  display.show({ ...sum(1), layers: [layer("a", 1)] });
  display.end();
  expect(JSON.parse(written)).toMatchObject({ copiedBytes: 1, layers: [{ bytes: 1 }] });
});
