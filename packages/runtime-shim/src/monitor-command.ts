import type { RuntimeSpec } from "@ocid/spec";
import type { ContainerFiles, ShimFiles } from "./container-files.ts";
import type { MonitorRequest } from "./monitor.ts";

/** How the monitor is started: conmon itself, or systemd-run, which becomes conmon once its scope is there. */
export function monitorCommand(
  shim: ShimFiles,
  files: ContainerFiles,
  request: MonitorRequest,
): { readonly path: string; readonly argv: readonly string[] } {
  const { conmonPath, systemdRunPath, cgroups } = request;
  const argv = monitorArguments(shim, files, request);
  if (cgroups.monitorScope === undefined || systemdRunPath === undefined)
    return { path: conmonPath, argv: ["conmon", ...argv] };
  const { slice, scope } = cgroups.monitorScope;
  return {
    path: systemdRunPath,
    argv: [
      ...["systemd-run", "--quiet", "--scope", "--collect", `--slice=${slice}`, `--unit=${scope}`],
      // Not stopped by systemd before the pods are when the machine goes down.
      "--property=DefaultDependencies=no",
      ...["--", conmonPath, ...argv],
    ],
  };
}

function monitorArguments(
  shim: ShimFiles,
  files: ContainerFiles,
  { launch, runtime, cgroups }: MonitorRequest,
): readonly string[] {
  const log = launch.logPath === undefined ? "none" : `k8s-file:${launch.logPath}`;
  const terminal = launch.spec.process.terminal === true;
  return [
    ...["--cid", launch.id, "--cuuid", launch.id, "--name", launch.name],
    ...["--bundle", files.bundle, "--runtime", runtime.path],
    ...runtime.globalArguments.flatMap(argument => ["--runtime-arg", argument]),
    ...["--exit-dir", shim.exits, "--persist-dir", files.directory, "--socket-dir-path", shim.sockets],
    ...["--container-pidfile", launch.checkpoint === undefined ? files.pidFile : files.restoredPidFile],
    ...["--conmon-pidfile", files.monitorPidFile],
    ...["--log-path", log, "--log-level", "warning", "--no-sync-log"],
    ...(cgroups.monitorScope ? ["--systemd-cgroup"] : []),
    ...(terminal ? ["--terminal"] : []),
    ...(launch.stdin ? ["--stdin"] : []),
    ...(launch.stdin && !launch.stdinOnce ? ["--leave-stdin-open"] : []),
    ...(launch.checkpoint === undefined ? [] : restoreArguments(launch.checkpoint, launch.spec)),
  ];
}

/** The security module's label is the new container's; without one the processes keep theirs. */
function restoreArguments(checkpoint: string, { process }: RuntimeSpec): readonly string[] {
  const { apparmorProfile, selinuxLabel } = process;
  const options = [
    "--file-locks",
    ...(apparmorProfile ? ["--lsm-profile", `apparmor:${apparmorProfile}`] : []),
    ...(selinuxLabel ? ["--lsm-profile", `selinux:${selinuxLabel}`] : []),
  ];
  return ["--restore", checkpoint, ...options.flatMap(option => ["--runtime-opt", option])];
}
