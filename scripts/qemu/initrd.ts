import { execFileSync } from "node:child_process";
import { copyFileSync, mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";

/** What Debian's cloud kernel cannot reach its root disk without. */
const drivers = ["virtio_pci", "virtio_blk"];

/** Process 1 until the root disk is there. */
export const initScript = `#!/bin/busybox sh
/bin/busybox mount -t devtmpfs devtmpfs /dev
for module in /modules/*; do /bin/busybox insmod "$module"; done
until [ -b /dev/vda ]; do /bin/busybox sleep 1; done
/bin/busybox mount -t ext4 -o rw /dev/vda /root
/bin/busybox mount --move /dev /root/dev
exec /bin/busybox switch_root /root /sbin/init
`;

/**
 * An initial file system of a few files for the guest in `tree`. Debian's own, with all drivers and udev, takes minutes
 * to make and the guest a minute to get through.
 */
export function writeInitrd(tree: string, path: string): void {
  const stage = `${path}.stage`;
  rmSync(stage, { recursive: true, force: true });
  for (const folder of ["bin", "dev", "modules", "root"]) mkdirSync(join(stage, folder), { recursive: true });
  copyFileSync(join(tree, "bin/busybox"), join(stage, "bin/busybox"));
  writeFileSync(join(stage, "init"), initScript, { mode: 0o755 });
  moduleFiles(tree).forEach((file, index) => {
    copyFileSync(join(tree, file), join(stage, "modules", `${10 + index}-${basename(file)}`));
  });
  execFileSync("sh", ["-c", 'find . | busybox cpio -o -H newc >"$1"', "sh", path], {
    cwd: stage,
    stdio: ["ignore", "inherit", "ignore"],
  });
  rmSync(stage, { recursive: true });
}

/** The files of the drivers and of what they need, in the order in which they are loaded. */
function moduleFiles(tree: string): readonly string[] {
  const [kernel] = readdirSync(join(tree, "lib/modules"));
  const lines = drivers.flatMap(name =>
    execFileSync("chroot", [tree, "modprobe", "-S", kernel!, "--show-depends", name], { encoding: "utf8" })
      .trim()
      .split("\n"),
  );
  const files = lines.map(line => line.split(/\s+/)[1]!);
  return [...new Set(files)];
}
