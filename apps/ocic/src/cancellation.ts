import { OcidError } from "@ocid/base";

let signal: AbortSignal | undefined;

/**
 * Aborts at the first SIGINT or SIGTERM, so that a command takes away what it has begun and keeps what a later one can go
 * on from; a second one ends the process at once.
 */
export function cancellation(): AbortSignal {
  if (signal) return signal;
  const controller = new AbortController();
  for (const name of ["SIGINT", "SIGTERM"] as const)
    process.on(name, () => {
      if (controller.signal.aborted) process.exit(130);
      controller.abort(new OcidError("CANCELLED", `cancelled by ${name}`));
    });
  signal = controller.signal;
  return signal;
}
