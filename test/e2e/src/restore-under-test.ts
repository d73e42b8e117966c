import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { coreImage, type MountFacts, mountpointsImage } from "@ocid/testkit";
import { expect } from "vitest";
import { pushCheckpointImage } from "./checkpoint-image.ts";
import { type DaemonUnderTest, startDaemonUnderTest } from "./daemon-under-test.ts";
import { podActions } from "./pod-actions.ts";

// Everything of a restore but criu, which few kernels of CI have (the lane has it): what the runtime restores is started
// from its configuration. Files beside it change what it does: `slow`, `broken`.
const withoutCriu = `#!/bin/sh
here=$(dirname "$0")
root=$1
case " $* " in
  *" checkpoint "*)
    while [ "$1" != --image-path ]; do shift; done
    mkdir -p "$2"; echo dumped > "$4/dump.log"
    for name in inventory pstree pages-1; do echo "$name" > "$2/$name.img"; done
    echo '["/dev/null","pipe:[1]","pipe:[2]"]' > "$2/descriptors.json"; exit 0;;
  *" restore "*)
    while [ $# -gt 1 ]; do
      case $1 in --bundle) bundle=$2;; --pid-file) pid=$2;; --image-path) images=$2;; --work-path) work=$2;; esac
      shift
    done
    [ -s "$images/pages-1.img" ] || exit 3
    if [ -e "$here/broken" ]; then
      printf '(00.1)      1: Error (criu/mem.c:1): pages do not fit\\n(00.2) Error (criu/cr-restore.c:2): Restoring FAILED.\\n' > "$work/restore.log"
      echo 'criu failed: type NOTIFY errno 0' >&2; exit 1
    fi
    touch "$here/begun"
    while [ -e "$here/slow" ]; do sleep 0.1; done
    exec runc "$root" run --detach --bundle "$bundle" --pid-file "$pid" "$1";;
esac
exec runc "$@"
`;

/** A daemon whose runtime restores without criu, and a checkpoint that it made. */
export interface RestoreUnderTest extends AsyncDisposable {
  readonly daemon: DaemonUnderTest;
  /** The checkpoint as an archive, as a directory, and as an image that is on the node. */
  readonly archive: string;
  readonly unpacked: string;
  readonly frozen: string;
  /** A program or a switch of the runtime's. */
  inBin(name: string): string;
  inState(path: string): string;
  /** The image policy from now on. */
  policy(document: object): void;
  /** The archive once more, changed. */
  changed(name: string, change: (directory: string) => void): string;
  /** Fails where something is left of containers. */
  expectNothingLeft(): void;
}

export const anything = [{ type: "insecureAcceptAnything" }];
/** A command that says so, and ends with 7 when it is asked to. */
export const runs = ["sh", "-c", "trap 'exit 7' TERM; echo restored; while :; do sleep 0.1; done"];

const tar = (...args: string[]) => execFileSync("tar", args, { encoding: "utf8" });

export async function startRestoreUnderTest(): Promise<RestoreUnderTest> {
  const daemon = await startDaemonUnderTest({
    policy: { default: anything },
    config: "",
    prepare(root) {
      mkdirSync(join(root, "bin"));
      mkdirSync(join(root, "ocid.conf.d"));
      const wrapper = join(root, "bin/without-criu");
      writeFileSync(wrapper, withoutCriu, { mode: 0o755 });
      writeFileSync(join(root, "bin/criu"), "#!/bin/sh\nexit 0\n", { mode: 0o755 });
      writeFileSync(
        join(root, "ocid.conf.d/10-restore.conf"),
        `runtime.default = "without-criu"\nruntimes.without-criu.path = "${wrapper}"\n`,
      );
      return { path: join(root, "bin") };
    },
  });
  await daemon.images.pullImage({ image: { image: daemon.image } });
  const archive = join(daemon.root, "whole.tar");
  const unpacked = join(daemon.root, "unpacked");
  await makeCheckpoint(daemon, archive, unpacked);
  const frozen = await pushCheckpointImage(daemon.registry, "test/frozen", archive);
  await daemon.images.pullImage({ image: { image: frozen } });
  const inState = (path: string) => join(daemon.root, "state", path);
  return {
    ...{ daemon, archive, unpacked, frozen, inState },
    inBin: name => join(daemon.root, "bin", name),
    policy: document => writeFileSync(join(daemon.root, "policy.json"), JSON.stringify(document)),
    changed(name, change) {
      const directory = join(daemon.root, `changed-${name}`);
      cpSync(unpacked, directory, { recursive: true });
      change(directory);
      const file = join(daemon.root, `${name}.tar`);
      tar("-cf", file, "-C", directory, ...readdirSync(directory));
      rmSync(directory, { recursive: true });
      return file;
    },
    expectNothingLeft() {
      for (const place of ["records", "runtime/containers", "runtime/runtimes/without-criu", "image-mounts"])
        expect(readdirSync(inState(place)), place).toEqual([]);
    },
    [Symbol.asyncDispose]: () => daemon[Symbol.asyncDispose](),
  };
}

/** A container's archive, with the images that criu would have written of its process. */
async function makeCheckpoint(daemon: DaemonUnderTest, archive: string, unpacked: string): Promise<void> {
  const { pod, started, exec, remove } = podActions(() => daemon);
  const p = await pod("frozen");
  const c = await started(p, "c");
  await exec(c, "sh", "-c", "echo kept > /new; echo deep > /tmp/deep; rm /bin/seq");
  await daemon.runtime.checkpointContainer({ containerId: c, location: archive });
  await remove(p);
  mkdirSync(unpacked);
  tar("-xf", archive, "-C", unpacked);
  const { mounts } = JSON.parse(readFileSync(join(unpacked, "spec.dump"), "utf8"));
  writeFileSync(join(unpacked, "checkpoint/core-1.img"), coreImage({ capabilities: 1n << 5n }));
  writeFileSync(join(unpacked, "checkpoint/mountpoints-1.img"), mountpointsImage(mounts.map(processMount)));
  tar("-cf", archive, "-C", unpacked, ...readdirSync(unpacked));
}

const fstypes: Readonly<Record<string, number>> = {
  proc: 1,
  sysfs: 2,
  tmpfs: 5,
  devpts: 6,
  cgroup: 12,
  mqueue: 14,
};

function processMount(mount: {
  readonly destination: string;
  readonly type: string;
  readonly options?: readonly string[];
}): MountFacts {
  const bound = mount.type === "bind" || mount.options?.some(option => option.endsWith("bind"));
  return {
    path: mount.destination,
    fstype: fstypes[mount.type] ?? 0,
    readonly: mount.options?.includes("ro") ?? false,
    externalKey: bound ? mount.destination : undefined,
  };
}
