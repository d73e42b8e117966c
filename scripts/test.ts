import { buildApps } from "./build/apps.ts";
import { fail, run } from "./run.ts";

// Everything: what the executables need is built first, because the end-to-end tests drive them.
try {
  await run("sh", ["scripts/bootstrap.sh", "--tests"]);
  await run("turbo", ["run", "build", "--output-logs=errors-only", "--ui=stream"], {
    TURBO_TELEMETRY_DISABLED: "1",
    DO_NOT_TRACK: "1",
  });
  await buildApps();
  await run("vitest", ["run", ...process.argv.slice(2)]);
} catch (error) {
  fail(error);
}
