import { buildApps } from "./build/apps.ts";
import { fail, run } from "./run.ts";

// Libraries are compiled one to one; the applications are bundled into executables that carry their own Node.
try {
  await run("turbo", ["run", "build", "--output-logs=errors-only", "--ui=stream"], {
    TURBO_TELEMETRY_DISABLED: "1",
    DO_NOT_TRACK: "1",
  });
  await buildApps();
} catch (error) {
  fail(error);
}
