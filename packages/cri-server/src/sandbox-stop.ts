import { containerWork } from "./container-create.ts";
import { discardContainer } from "./container-remove.ts";
import { tellOfEnd } from "./plugins/container-events.ts";
import { tellOfPod } from "./plugins/pod-events.ts";
import type { CallOptions } from "./ports.ts";
import { tearDown } from "./sandbox-run.ts";
import type { ServerContext } from "./server-context.ts";

/** Ends all of a pod's containers and gives its network and namespaces back; a repeat, and a pod that is gone, is no error. */
export async function stopSandbox(context: ServerContext, id: string, options: CallOptions): Promise<void> {
  const { records, ports } = context;
  const sandbox = records.findSandbox(id);
  if (!sandbox || sandbox.phase === "creating") return;
  await context.locks.run(`sandbox ${sandbox.id}`, async () => {
    sandbox.stopping = true;
    for (const container of records.containersOf(sandbox.id))
      if (container.phase === "creating") await context.creations.cancel(containerWork(container.name));
    const running = records.containersOf(sandbox.id).filter(container => container.phase === "created");
    await Promise.all(
      running.map(async container => {
        await ports.runtime.stop(container.id, { stopSignal: container.stopSignal, timeoutMs: 0 }, options);
        await tellOfEnd(context, container);
      }),
    );
    if (sandbox.phase === "ready") await tellOfPod(context, "stop", sandbox);
    await tearDown(context, sandbox);
    if (sandbox.phase === "stopped") return;
    sandbox.phase = "stopped";
    await records.saveSandbox(sandbox);
  });
}

/** Removes a pod with its containers, stopping what runs. */
export async function removeSandbox(context: ServerContext, id: string, options: CallOptions): Promise<void> {
  const { records } = context;
  const sandbox = records.findSandbox(id);
  if (!sandbox || sandbox.phase === "creating") return;
  await stopSandbox(context, sandbox.id, options);
  for (const container of records.containersOf(sandbox.id)) await discardContainer(context, container);
  await tellOfPod(context, "remove", sandbox);
  await context.locks.run(`sandbox ${sandbox.id}`, async () => records.deleteSandbox(sandbox.id));
}
