import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { repository, run } from "../run.ts";
import { initScript, writeInitrd } from "./initrd.ts";

/** Where images are kept from one run to the next. */
export const imageDirectory: string = join(repository, "node_modules/.cache/ocid-qemu");

export interface BaseImage {
  readonly kernel: string;
  readonly initrd: string;
  /** A file system of Debian, not to be written to. */
  readonly root: string;
}

const packages = [
  ...["systemd", "systemd-sysv", "dbus", "udev", "kmod", "procps", "util-linux"],
  ...["linux-image-cloud-amd64"],
  ...["runc", "crun", "conmon", "containernetworking-plugins", "iptables", "iproute2"],
  ...["podman", "docker-registry", "busybox-static", "libcap2-bin", "openssl", "libatomic1", "libstdc++6"],
  ...["e2fsprogs", "xfsprogs", "criu"],
];

const options = [
  ...["--quiet", "--mode=root", "--variant=essential", "--aptopt=APT::Install-Recommends false"],
  "--dpkgopt=force-unsafe-io",
];
/** The kernel's package makes no initial file system: the lane has one of its own. */
const environment = { INITRD: "No" };

const service = `[Unit]
Description=The tests on the second disk
After=dbus.socket
Wants=dbus.socket
SuccessAction=poweroff-force
FailureAction=poweroff-force

[Service]
Type=oneshot
ExecStart=/bin/sh -c 'mount /dev/vdb /repo && exec sh /repo/guest.sh'
StandardInput=null
StandardOutput=tty
StandardError=tty
TTYPath=/dev/ttyS0
Delegate=yes
LimitNOFILE=1048576
TasksMax=infinity
`;

/** Units that no test needs: each costs seconds under emulation. */
const masked = [
  ...["apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer"],
  ...["fstrim.timer", "docker-registry.service", "podman.socket", "podman-auto-update.timer"],
  ...["ldconfig.service", "systemd-hwdb-update.service", "systemd-journal-catalog-update.service"],
  ...["systemd-update-done.service", "serial-getty@ttyS0.service"],
];

/** Generators of units that the guest has no use for: systemd runs all of them at each daemon-reload. */
const generators = [
  ...["cryptsetup", "debug", "getty", "gpt-auto", "hibernate-resume", "integritysetup", "rc-local"],
  ...["system-update", "sysv", "veritysetup"],
].map(name => `systemd-${name}-generator`);

/** Files of the guest beside those of its packages. */
const files: Readonly<Record<string, string>> = {
  // Disks are mounted by name: a unit that waited for a device would fail on a busy machine.
  "etc/fstab": "",
  // Without one each boot were the first, which presets all units.
  "etc/machine-id": `${"0c1d".repeat(8)}\n`,
  "etc/hostname": "lane\n",
  "etc/hosts": "127.0.0.1 localhost\n127.0.1.1 lane\n",
  "etc/systemd/system/lane.service": service,
  // Nobody sits at the console: a boot that fails ends.
  "etc/systemd/system/emergency.service":
    "[Service]\nType=oneshot\nExecStart=/bin/systemctl poweroff --force\n",
};

/** A small Debian with systemd, of the suite and from the mirrors that this machine's apt uses; made once. */
export async function baseImage(): Promise<BaseImage> {
  const sources = aptSources();
  const wanted = createHash("sha256")
    .update(JSON.stringify([packages, masked, generators, files, sources, options, initScript]))
    .digest("hex");
  const image: BaseImage = {
    kernel: join(imageDirectory, "vmlinuz"),
    initrd: join(imageDirectory, "initrd"),
    root: join(imageDirectory, "root.ext4"),
  };
  const stamp = join(imageDirectory, "stamp");
  if (existsSync(stamp) && readFileSync(stamp, "utf8") === wanted) return image;
  console.log("lane: making the guest's Debian, which is kept for later runs");
  rmSync(stamp, { force: true });
  mkdirSync(imageDirectory, { recursive: true });
  const tree = join(imageDirectory, "tree");
  rmSync(tree, { recursive: true, force: true });
  writeFileSync(join(imageDirectory, "sources.list"), sources);
  const names = `--include=${packages.join(",")}`;
  await run("mmdebstrap", [...options, names, "", tree, join(imageDirectory, "sources.list")], environment);
  await finish(tree, image);
  writeFileSync(stamp, wanted);
  return image;
}

async function finish(tree: string, image: BaseImage): Promise<void> {
  for (const [path, text] of Object.entries(files)) writeFileSync(join(tree, path), text);
  for (const unit of masked) execFileSync("ln", ["-sf", "/dev/null", join(tree, "etc/systemd/system", unit)]);
  mkdirSync(join(tree, "etc/systemd/system-generators"), { recursive: true });
  for (const name of generators) symlinkSync("/dev/null", join(tree, "etc/systemd/system-generators", name));
  mkdirSync(join(tree, "repo"), { recursive: true });
  const boot = readdirSync(join(tree, "boot"));
  const kernel = boot.find(name => name.startsWith("vmlinuz-"));
  if (kernel === undefined) throw new Error(`no kernel in ${join(tree, "boot")}`);
  copyFileSync(join(tree, "boot", kernel), image.kernel);
  writeInitrd(tree, image.initrd);
  await makeFileSystem(image.root, "root", tree, "4G");
  rmSync(tree, { recursive: true, force: true });
}

/** A sparse file with an ext4 file system that holds a directory's content. */
export async function makeFileSystem(
  path: string,
  label: string,
  directory: string,
  size: string,
): Promise<void> {
  rmSync(path, { force: true });
  await run("mke2fs", ["-q", "-t", "ext4", "-L", label, "-d", directory, path, size]);
}

/** The sources of Debian itself that apt knows here, as lines of sources.list. */
function aptSources(): string {
  const format = "$(ORIGIN)|deb $(REPO_URI) $(RELEASE) $(COMPONENT)";
  const lines = execFileSync("apt-get", ["indextargets", "--format", format, "Created-By: Packages"], {
    encoding: "utf8",
  })
    .split("\n")
    .filter(line => line.startsWith("Debian|"))
    .map(line => line.slice("Debian|".length));
  if (lines.length === 0)
    throw new Error("apt knows no sources of Debian here; run apt-get update, or use a Debian machine");
  return `${[...new Set(lines)].sort().join("\n")}\n`;
}
