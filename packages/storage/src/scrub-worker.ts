import { constants, setPriority } from "node:os";
import { parentPort, workerData } from "node:worker_threads";
import { messageOf } from "@ocid/base";
import { openStore } from "./open-store.ts";
import type { FromScrubWorker, ScrubOptions } from "./scrub-store.ts";

// Checks a whole store on a thread that runs, and reads, only when nobody else wants to: on Linux this sets the
// priority of the calling thread, and the disk's follows it (ioprio_set(2)).
setPriority(0, constants.priority.PRIORITY_LOW);
const send = (message: FromScrubWorker) => parentPort?.postMessage(message);

async function scrub({ bytesPerSecond, ...places }: ScrubOptions): Promise<void> {
  // Not disposed of: that would take the overlay directory's mount away, which is the owner's business.
  const store = await openStore(places);
  for await (const finding of store.check({ deep: true, bytesPerSecond })) send({ finding });
}

scrub(workerData as ScrubOptions).then(
  () => send({ done: true }),
  error => send({ failure: messageOf(error) }),
);
