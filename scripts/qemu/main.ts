import { parseArgs } from "node:util";
import { buildApps } from "../build/apps.ts";
import { fail, run } from "../run.ts";
import { baseImage } from "./base-image.ts";
import { bootGuest } from "./boot-guest.ts";
import { lanePlan } from "./plan.ts";
import { testDisk } from "./test-disk.ts";

// The end-to-end suite's core on a node with systemd and cgroup v2: npm run test:qemu -- [--setup NAME]… [TEST FILE]…
try {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      setup: { type: "string", multiple: true, default: [] },
      minutes: { type: "string", default: "120" },
    },
  });
  const plan = lanePlan(values.setup, positionals);
  await run("sh", ["scripts/bootstrap.sh", "--qemu"]);
  await run("turbo", ["run", "build", "--output-logs=errors-only", "--ui=stream"], {
    TURBO_TELEMETRY_DISABLED: "1",
    DO_NOT_TRACK: "1",
  });
  await buildApps();
  const base = await baseImage();
  const code = await bootGuest(base, await testDisk(plan), {
    timeoutMs: Number(values.minutes) * 60_000,
  });
  process.exit(code);
} catch (error) {
  fail(error);
}
