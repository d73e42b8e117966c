import { setTimeout as sleep } from "node:timers/promises";
import { silentLogger } from "@ocid/base";
import { expect, test } from "vitest";
import { announceService } from "./service.ts";

function listener() {
  const told: string[] = [];
  return { told, notify: (state: string) => void told.push(state) };
}

test("the service manager is told of each state", () => {
  const { told, notify } = listener();
  using service = announceService({ logger: silentLogger, environment: {}, health: () => undefined, notify });
  service.ready("serving");
  service.reloading();
  service.stopping();
  expect(told[0]).toBe("READY=1\nSTATUS=serving");
  expect(told[1]).toMatch(/^RELOADING=1\nMONOTONIC_USEC=\d+\n/);
  expect(told[2]).toMatch(/^STOPPING=1\n/);
});

test("the watchdog is fed while the daemon is healthy, and not when it is not", async () => {
  const { told, notify } = listener();
  let problem: string | undefined;
  const environment = { WATCHDOG_USEC: "20000", WATCHDOG_PID: String(process.pid) };
  using _service = announceService({ logger: silentLogger, environment, health: () => problem, notify });
  while (told.length < 2) await sleep(5);
  expect(told[0]).toBe("WATCHDOG=1");
  problem = "an operation is stuck";
  const fed = told.length;
  await sleep(60);
  expect(told).toHaveLength(fed);
  problem = undefined;
  while (told.length === fed) await sleep(5);
});

test.each([{}, { WATCHDOG_USEC: "20000", WATCHDOG_PID: "1" }, { WATCHDOG_USEC: "never" }])(
  "a watchdog that is not ours is not fed: %j",
  async environment => {
    const { told, notify } = listener();
    using _service = announceService({ logger: silentLogger, environment, health: () => undefined, notify });
    await sleep(50);
    expect(told).toEqual([]);
  },
);
