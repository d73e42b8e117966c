import type { DaemonUnderTest } from "./daemon-under-test.ts";

export interface TestPod {
  readonly id: string;
  readonly config: object;
}

/** What most tests do with pods, in a line each. */
export function podActions(daemon: () => DaemonUnderTest) {
  const runtime = () => daemon().runtime;
  const pod = async (name: string, more: object = {}, runtimeHandler = ""): Promise<TestPod> => {
    const config = daemon().sandboxConfig(name, more);
    const { podSandboxId } = await runtime().runPodSandbox({ config, runtimeHandler });
    return { id: podSandboxId, config };
  };
  const container = async (in_: TestPod, name: string, command: readonly string[], more: object = {}) => {
    const { containerId } = await runtime().createContainer({
      podSandboxId: in_.id,
      sandboxConfig: in_.config,
      config: {
        metadata: { name, attempt: 0 },
        image: { image: daemon().image },
        command: [...command],
        logPath: `${name}.log`,
        linux: {},
        ...more,
      },
    });
    return containerId;
  };
  const started = async (in_: TestPod, name: string, more: object = {}, command = ["sleep", "1000"]) => {
    const id = await container(in_, name, command, more);
    await runtime().startContainer({ containerId: id });
    return id;
  };
  const exec = async (id: string, ...cmd: string[]): Promise<string> => {
    const { stdout, stderr, exitCode } = await runtime().execSync({ containerId: id, cmd });
    if (exitCode !== 0) throw new Error(`exit ${exitCode}: ${Buffer.from(stderr)}`);
    return Buffer.from(stdout).toString().trim();
  };
  const remove = async (in_: TestPod) => {
    await runtime().removePodSandbox({ podSandboxId: in_.id });
  };
  const status = async (id: string) => (await runtime().containerStatus({ containerId: id })).status!;
  return { pod, container, started, exec, remove, status };
}
