import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { RuntimeSpec } from "@ocid/spec";
import { pinnedCpu, withCpu } from "./node-adjustments.ts";
import { pauseProgram } from "./pause-program.ts";
import type { CallOptions } from "./ports.ts";
import type { Sandbox } from "./records.ts";
import { containerCgroupsPath } from "./runtime-config/cgroup-path.ts";
import { podIdMappings } from "./runtime-config/user-namespace.ts";
import type { ServerContext } from "./server-context.ts";

const ordinaryUser = 65_535;

/** Starts the process that holds the pid namespace which a pod's containers share. */
export async function startPause(
  context: ServerContext,
  sandbox: Sandbox,
  options: CallOptions,
): Promise<void> {
  const { ports, records } = context;
  const id = sandbox.pauseId!;
  const root = join(records.sandboxDirectory(sandbox.id), "pause");
  mkdirSync(root, { mode: 0o755 });
  writeFileSync(join(root, "pause"), pauseProgram());
  chmodSync(join(root, "pause"), 0o555);
  for (const name of ["proc", "dev", "sys"]) mkdirSync(join(root, name));
  const { namespaces } = sandbox;
  const mappings = podIdMappings(sandbox.config.linux?.securityContext?.namespaceOptions);
  const user = Math.min(ordinaryUser, ...(mappings ? lastIds(mappings) : []));
  const spec: RuntimeSpec = {
    ociVersion: "1.0.2",
    process: {
      user: { uid: user, gid: user },
      args: ["/pause"],
      env: [],
      cwd: "/",
      noNewPrivileges: true,
      capabilities: {},
      oomScoreAdj: Math.max(-998, ports.node.minOomScoreAdj()),
    },
    root: { path: root, readonly: true },
    mounts: [
      { destination: "/proc", type: "proc", source: "proc", options: ["nosuid", "noexec", "nodev"] },
      { destination: "/dev", type: "tmpfs", source: "tmpfs", options: ["nosuid", "mode=755", "size=64k"] },
    ],
    linux: {
      namespaces: [
        { type: "mount" },
        { type: "pid" },
        ...(namespaces.user ? [{ type: "user" as const, path: namespaces.user }] : []),
        ...(namespaces.net ? [{ type: "network" as const, path: namespaces.net }] : []),
        ...(namespaces.ipc ? [{ type: "ipc" as const, path: namespaces.ipc }] : []),
        ...(namespaces.uts ? [{ type: "uts" as const, path: namespaces.uts }] : []),
      ],
      ...(mappings ? { uidMappings: [...mappings.uids], gidMappings: [...mappings.gids] } : {}),
      cgroupsPath: containerCgroupsPath(ports.node.cgroups().driver, sandbox.cgroupParent, id),
      resources: { devices: [{ allow: false, access: "rwm" }], cpu: { shares: 2 } },
      maskedPaths: ["/proc/kcore", "/proc/keys", "/proc/sysrq-trigger"],
    },
  };
  const launch = {
    id,
    name: `k8s_POD_${sandbox.name}`,
    runtimeHandler: sandbox.handler,
    spec: withCpu(spec, pinnedCpu(context, sandbox, "POD")),
    stdin: false,
    stdinOnce: false,
  };
  await ports.runtime.create(launch, options);
  await ports.runtime.start(id, options);
}

function lastIds(mappings: NonNullable<ReturnType<typeof podIdMappings>>): readonly number[] {
  return [...mappings.uids, ...mappings.gids].map(({ containerID, size }) => containerID + size - 1);
}
