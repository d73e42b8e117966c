import { expect, test } from "vitest";
import { systemCallNumber } from "./sys.ts";

// From asm/unistd_64.h (x86-64) and asm-generic/unistd.h (arm64).
test.each([
  ["setresuid", 117, 147],
  ["pidfd_send_signal", 424, 424],
  ["open_tree", 428, 428],
  ["move_mount", 429, 429],
  ["fsopen", 430, 430],
  ["fsconfig", 431, 431],
  ["fsmount", 432, 432],
  ["pidfd_open", 434, 434],
  ["openat2", 437, 437],
  ["mount_setattr", 442, 442],
  ["quotactl_fd", 443, 443],
] as const)("%s is call %d on x86-64 and %d on arm64", (name, x64, arm64) => {
  expect([systemCallNumber(name, "x64"), systemCallNumber(name, "arm64")]).toEqual([x64, arm64]);
});

test("on another processor it is refused by name", () => {
  expect(() => systemCallNumber("setresuid", "riscv64")).toThrow(/setresuid on processor riscv64/);
});
