import type { MessageInitShape } from "@bufbuild/protobuf";
import { messageOf } from "@ocid/base";
import type { StatusRequest, StatusResponseSchema } from "@ocid/cri-api";
import type { ServerContext } from "./server-context.ts";

/** Whether pods can be made here, and with what. */
export async function nodeStatus(
  { ports, version, configuration }: ServerContext,
  request: StatusRequest,
): Promise<MessageInitShape<typeof StatusResponseSchema>> {
  const network = await ports.network.status().then(
    () => undefined,
    error => messageOf(error),
  );
  const runtime = await ports.runtime
    .version()
    .catch(error => ({ name: "", version: "", error: messageOf(error) }));
  const broken = "error" in runtime ? runtime.error : undefined;
  return {
    status: {
      conditions: [
        condition("RuntimeReady", "RuntimeNotReady", broken),
        condition("NetworkReady", "NetworkPluginNotReady", network),
      ],
    },
    runtimeHandlers: (await ports.runtime.handlers()).map(handler => ({
      name: handler.name,
      features: {
        recursiveReadOnlyMounts: handler.recursiveReadOnlyMounts,
        userNamespaces: handler.userNamespaces,
      },
    })),
    features: { supplementalGroupsPolicy: true, userNamespacesHostNetwork: true },
    info: request.verbose
      ? {
          version: JSON.stringify({ ocid: version, runtime, node: process.version }),
          cgroups: JSON.stringify(ports.node.cgroups()),
          config: JSON.stringify(configuration),
        }
      : {},
  };
}

function condition(type: string, reason: string, failure: string | undefined) {
  return {
    type,
    status: failure === undefined,
    reason: failure === undefined ? "" : reason,
    message: failure ?? "",
  };
}
