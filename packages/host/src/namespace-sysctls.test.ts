import { expect, test } from "vitest";
import { sysctlsFromOutside } from "./namespace-sysctls.ts";

const gids = [
  { containerID: 0, hostID: 100_000, size: 1000 },
  { containerID: 5000, hostID: 700, size: 10 },
];
const key = "net.ipv4.ping_group_range";

test.each([
  ["0 0", "100000 100000"],
  ["0\t2147483647", "100000 100999"],
  ["10 20", "100010 100020"],
  ["5001 5002", "701 702"],
  ["1 0", "1 0"],
])("groups %j of the pod are %j of the machine", (inside, outside) => {
  expect(sysctlsFromOutside({ [key]: inside }, gids)).toEqual({ [key]: outside });
});

test("spelled with slashes too, and the others as they are", () => {
  expect(sysctlsFromOutside({ "net/ipv4/ping_group_range": "1 1", "kernel.msgmax": "1 1" }, gids)).toEqual({
    "net/ipv4/ping_group_range": "100001 100001",
    "kernel.msgmax": "1 1",
  });
});

test.each(["2000 3000", "all", "", "1 2 3"])("%j is refused", value => {
  expect(() => sysctlsFromOutside({ [key]: value }, gids)).toThrow(/no range of groups/);
});
