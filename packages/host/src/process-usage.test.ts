import { createServer } from "node:net";
import { expect, test } from "vitest";
import { readOpenFilesLimit, readProcessUsage } from "./process-usage.ts";

test("counts threads, files and sockets of what lives; what has ended is left out", async () => {
  const before = await readProcessUsage([process.pid, 2 ** 30]);
  expect(before.processes).toBe(1n);
  expect(before.threads).toBeGreaterThan(1n);
  const server = createServer();
  await new Promise<void>(resolve => server.listen(0, "127.0.0.1", resolve));
  try {
    const during = await readProcessUsage([process.pid]);
    expect(during.sockets).toBe(before.sockets + 1n);
    expect(during.fileDescriptors).toBeGreaterThan(during.sockets);
  } finally {
    await new Promise(resolve => server.close(resolve));
  }
  expect(await readProcessUsage([])).toEqual({
    processes: 0n,
    threads: 0n,
    fileDescriptors: 0n,
    sockets: 0n,
  });
});

test("the limit of open files is the soft one", async () => {
  const report = process.report.getReport() as unknown as {
    userLimits: { open_files: { soft: number | string } };
  };
  const { soft } = report.userLimits.open_files;
  expect(await readOpenFilesLimit(process.pid)).toBe(typeof soft === "number" ? BigInt(soft) : undefined);
  expect(await readOpenFilesLimit(2 ** 30)).toBeUndefined();
});
