import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { mountpointsBelow } from "@ocid/testkit";

/**
 * FS_IOC_SHUTDOWN with GOING_FLAGS_NOLOGFLUSH: from now on nothing reaches the device, neither data nor journal that
 * was not written yet. Perl, because every Debian has it.
 */
export const cutPowerProgram =
  'open F, "<", $ARGV[0] or die $!; my $f = pack("L", 2); ioctl(F, 0x8004587d, $f) // die $!';

/** An ext4 with a journal on a loop device of the test's own, which can lose its power. */
export class BlockDevice {
  readonly mountPoint: string;
  readonly #image: string;

  constructor(directory: string) {
    this.#image = join(directory, "device.img");
    this.mountPoint = join(directory, "device");
    mkdirSync(this.mountPoint);
  }

  /** Makes the file system anew and mounts it. */
  format(): void {
    this.unmount();
    rmSync(this.#image, { force: true });
    writeFileSync(this.#image, "");
    truncateSync(this.#image, 64 * 1024 * 1024);
    execFileSync("mkfs.ext4", ["-q", "-F", this.#image], { stdio: "ignore" });
    this.mount();
  }

  mount(): void {
    execFileSync("mount", ["-o", "loop", this.#image, this.mountPoint]);
  }

  /**
   * Strictly: a file system that is still in use must not be mounted a second time. A container that somebody has started
   * meanwhile has the mount too until it has its own root; the next mount would be of the same file system, cut or not.
   */
  unmount(): void {
    for (const path of mountpointsBelow(this.mountPoint).reverse()) execFileSync("umount", [path]);
    if (!existsSync(this.#image)) return;
    for (let attempt = 0; this.#isAttached(); attempt++) {
      if (attempt === 200) throw new Error(`the loop device of ${this.#image} is still in use`);
      execFileSync("sleep", ["0.05"]);
    }
  }

  #isAttached(): boolean {
    return execFileSync("losetup", ["--associated", this.#image], { encoding: "utf8" }).trim() !== "";
  }

  cutPower(): void {
    execFileSync("perl", ["-e", cutPowerProgram, this.mountPoint]);
  }

  /** What a boot does: the journal is replayed. */
  restart(): void {
    this.unmount();
    this.mount();
  }
}
