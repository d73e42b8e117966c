import { OcidError } from "@ocid/base";
import type { AttachRequest, ExecRequest, PortForwardRequest } from "@ocid/cri-api";
import type { StreamingServer } from "@ocid/streaming";
import type { Container } from "./records.ts";
import type { ServerContext } from "./server-context.ts";

/** URLs of sessions; what cannot be is refused before a client connects. */
export async function issueExec(
  context: ServerContext,
  streaming: StreamingServer,
  request: ExecRequest,
): Promise<string> {
  if (request.cmd.length === 0) throw new OcidError("INVALID_ARGUMENT", "there is no command to run");
  const { id } = await runningContainer(context, request.containerId);
  const { cmd, tty, stdin, stdout, stderr } = request;
  return streaming.issue({ kind: "exec", containerId: id, argv: cmd, tty, stdin, stdout, stderr });
}

export async function issueAttach(
  context: ServerContext,
  streaming: StreamingServer,
  request: AttachRequest,
): Promise<string> {
  const { id } = await runningContainer(context, request.containerId);
  const { tty, stdin, stdout, stderr } = request;
  return streaming.issue({ kind: "attach", containerId: id, tty, stdin, stdout, stderr });
}

export function issuePortForward(
  context: ServerContext,
  streaming: StreamingServer,
  request: PortForwardRequest,
): string {
  const sandbox = context.records.getSandbox(request.podSandboxId);
  if (sandbox.phase !== "ready")
    throw new OcidError(
      "FAILED_PRECONDITION",
      `pod sandbox ${sandbox.id.slice(0, 13)} is not ready, so none of its ports can be reached`,
    );
  for (const port of request.port)
    if (port < 1 || port > 65_535) throw new OcidError("INVALID_ARGUMENT", `not a port: ${port}`);
  return streaming.issue({ kind: "portforward", sandboxId: sandbox.id, ports: request.port });
}

async function runningContainer(context: ServerContext, id: string): Promise<Container> {
  const container = context.records.getContainer(id);
  const { status } = await context.ports.runtime.state(container.id);
  if (status !== "running")
    throw new OcidError(
      "FAILED_PRECONDITION",
      `container ${container.id.slice(0, 13)} is not running: it is ${status}`,
    );
  return container;
}
