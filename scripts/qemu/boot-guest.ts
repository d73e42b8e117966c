import { spawn } from "node:child_process";
import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { type BaseImage, imageDirectory } from "./base-image.ts";

/** The tests and what they stand on; no target for users. */
const units = "systemd.unit=lane.service systemd.show_status=no";

/** Drivers that no test needs and udev or systemd would load: each costs seconds under emulation. */
const withoutDrivers = [
  ...["ata_piix", "ata_generic", "i2c_piix4", "floppy", "psmouse", "pcspkr", "button", "evdev", "serio_raw"],
  ...["efi_pstore", "dm_mod", "configfs", "drm", "fuse"],
].join();

/** Boots a guest, shows its console, and returns the exit code that it writes to its second serial port. */
export async function bootGuest(
  base: BaseImage,
  testDisk: string,
  options: { readonly timeoutMs: number },
): Promise<number> {
  const result = join(imageDirectory, `result-${process.pid}`);
  const disk = (path: string) => ["-drive", `file=${path},if=virtio,format=raw,snapshot=on,cache=unsafe`];
  const child = spawn(
    "qemu-system-x86_64",
    [
      ...["-accel", "tcg,thread=multi", "-cpu", "Nehalem", "-smp", "2", "-m", "2048"],
      ...["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"],
      ...["-kernel", base.kernel, "-initrd", base.initrd, "-append"],
      // On a busy machine the timer is late, which the kernel would take for a broken one.
      `root=/dev/vda rootfstype=ext4 rw console=ttyS0 quiet panic=-1 no_timer_check mitigations=off ${units} modprobe.blacklist=${withoutDrivers}`,
      ...disk(base.root),
      ...disk(testDisk),
      ...["-device", "virtio-rng-pci"],
      ...[
        "-chardev",
        "stdio,id=console,signal=off",
        "-serial",
        "chardev:console",
        "-serial",
        `file:${result}`,
      ],
    ],
    { stdio: ["ignore", "inherit", "inherit"] },
  );
  const timer = setTimeout(() => {
    console.error(`lane: the guest did not end within ${options.timeoutMs / 60_000} minutes`);
    child.kill("SIGKILL");
  }, options.timeoutMs);
  const stop = () => child.kill("SIGKILL");
  process.once("SIGINT", stop).once("SIGTERM", stop);
  try {
    await new Promise((resolve, reject) => child.once("exit", resolve).once("error", reject));
    const said = readFileSync(result, "utf8").trim();
    if (!/^\d+$/.test(said)) throw new Error("the guest ended without a result; its console says why");
    return Number(said);
  } finally {
    clearTimeout(timer);
    rmSync(result, { force: true });
  }
}
