import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import type { Plan } from "./plan.ts";

// Runs in the guest, at /repo: every test file of every setup of the plan, one after the other.
const plan: Plan = JSON.parse(readFileSync("/repo/plan.json", "utf8"));
const upSeconds = () => Number(readFileSync("/proc/uptime", "utf8").split(" ")[0]);
const summary = [`up after ${upSeconds().toFixed()} s`];
let failures = 0;
for (const { name, config, tests } of plan.setups)
  for (const test of tests) {
    console.log(`\nlane: ${name}: ${test}`);
    const began = upSeconds();
    const { status } = spawnSync(
      process.execPath,
      ["--test-reporter=spec", `/repo/${test.replace(/\.ts$/, ".mjs")}`],
      {
        stdio: "inherit",
        timeout: plan.minutesPerFile * 60_000,
        killSignal: "SIGKILL",
        env: {
          ...process.env,
          OCID_LANE: name,
          OCID_E2E_CONFIG: config,
          OCID_E2E_PATIENCE: String(plan.patience),
          NO_COLOR: "1",
        },
      },
    );
    if (status !== 0) failures++;
    const said = status === 0 ? "passed" : status === null ? "did not end" : "failed";
    summary.push(`${said} in ${(upSeconds() - began).toFixed()} s: ${name} ${test}`);
  }
for (const line of summary) console.log(`lane: ${line}`);
process.exit(failures === 0 ? 0 : 1);
