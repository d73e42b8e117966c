/** How the daemon is configured in a part of the lane, and what is run with it. */
export interface Setup {
  readonly name: string;
  /** Configuration file of the daemon under test. */
  readonly config: string;
  readonly tests: readonly string[];
}

/** What a guest is to do. */
export interface Plan {
  readonly setups: readonly Setup[];
  /** By how much the guest is slower than a machine. */
  readonly patience: number;
  /** When a test file that hangs is given up. */
  readonly minutesPerFile: number;
}

const cgroups = "test/e2e/lane/cgroup.test.ts";
const checkpoint = "test/e2e/lane/checkpoint.test.ts";
const ofSuite = (...names: readonly string[]) => names.map(name => `test/e2e/src/${name}.test.ts`);

const setups: readonly Setup[] = [
  {
    name: "systemd-runc",
    config: `runtime.cgroup_driver = "systemd"\n`,
    tests: [
      "test/e2e/lane/service.test.ts",
      cgroups,
      ...ofSuite("life-cycle", "restart", "security", "streaming", "user-namespace", "volumes", "metrics"),
      "test/e2e/lane/quota.test.ts",
      checkpoint,
    ],
  },
  { name: "cgroupfs-runc", config: "", tests: [cgroups, checkpoint, ...ofSuite("pod-network")] },
  {
    name: "systemd-crun",
    config: `runtime.cgroup_driver = "systemd"\nruntime.default = "crun"\nruntimes.crun.path = "crun"\n`,
    // Debian's crun cannot tell what it can do, so pods with user namespaces are refused (docs/operate/runtimes.md).
    tests: [cgroups],
  },
  {
    name: "cgroupfs-crun",
    config: `runtime.default = "crun"\nruntimes.crun.path = "crun"\n`,
    tests: [cgroups],
  },
];

/** All of the lane; `names` chooses setups, `tests` replaces what is run with each. */
export function lanePlan(names: readonly string[], tests: readonly string[]): Plan {
  const unknown = names.filter(name => !setups.some(setup => setup.name === name));
  if (unknown.length > 0)
    throw new Error(
      `no such setup: ${unknown.join(", ")} (there are ${setups.map(({ name }) => name).join(", ")})`,
    );
  const chosen = setups.filter(({ name }) => names.length === 0 || names.includes(name));
  return {
    setups: tests.length === 0 ? chosen : chosen.map(setup => ({ ...setup, tests })),
    patience: 10,
    minutesPerFile: 30,
  };
}
