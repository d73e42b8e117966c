import type { MessageInitShape } from "@bufbuild/protobuf";
import { OcidError } from "@ocid/base";
import type { ExecSyncRequest, ExecSyncResponseSchema } from "@ocid/cri-api";
import type { RuntimeProcess } from "@ocid/spec";
import type { CallOptions } from "./ports.ts";
import type { ServerContext } from "./server-context.ts";

/** Runs a command in a container to its end. */
export async function execSync(
  context: ServerContext,
  request: ExecSyncRequest,
  options: CallOptions,
): Promise<MessageInitShape<typeof ExecSyncResponseSchema>> {
  if (request.cmd.length === 0) throw new OcidError("INVALID_ARGUMENT", "there is no command to run");
  if (request.timeout < 0n)
    throw new OcidError("INVALID_ARGUMENT", `the timeout cannot be ${request.timeout} s; 0 is none`);
  const container = context.records.getContainer(request.containerId);
  const process = await execProcess(context, container.id, request.cmd, false);
  return await context.ports.runtime.execSync(
    container.id,
    { process, timeoutMs: Number(request.timeout) * 1000 },
    options,
  );
}

/** A command runs as the container's own process does, but for its arguments and terminal. */
export async function execProcess(
  context: ServerContext,
  id: string,
  argv: readonly string[],
  terminal: boolean,
): Promise<RuntimeProcess> {
  const base = await context.ports.runtime.processOf(id);
  const { oomScoreAdj: _, ...rest } = base;
  return { ...rest, args: [...argv], terminal };
}
