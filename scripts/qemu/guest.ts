import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { node, repository } from "../run.ts";
import type { Plan } from "./plan.ts";

// Runs in the guest: every setup of the plan, one after the other.
const plan: Plan = JSON.parse(readFileSync(join(repository, "lane-plan.json"), "utf8"));
const failed = plan.setups.filter(({ name, config, tests }) => {
  console.log(`\nlane: ${name}`);
  const vitest = join(repository, "node_modules/vitest/vitest.mjs");
  const { status } = spawnSync(
    node,
    ["--conditions=@ocid/source", vitest, "run", "--project", "integration", "--project", "lane", ...tests],
    {
      cwd: repository,
      stdio: "inherit",
      env: {
        ...process.env,
        OCID_LANE: name,
        OCID_E2E_CONFIG: config,
        OCID_E2E_PATIENCE: String(plan.patience),
        NO_COLOR: "1",
      },
    },
  );
  return status !== 0;
});
if (failed.length > 0) console.log(`lane: failed with ${failed.map(({ name }) => name).join(", ")}`);
process.exit(failed.length === 0 ? 0 : 1);
