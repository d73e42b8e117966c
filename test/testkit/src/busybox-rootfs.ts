import { execFileSync } from "node:child_process";
import { copyFileSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** Fills a directory with a small root file system: Debian's static busybox with its applets, users and a web page. */
export function makeBusyboxRootfs(directory: string): string {
  for (const name of ["bin", "etc", "proc", "sys", "dev", "tmp", "var", "root", "www"])
    mkdirSync(join(directory, name), { recursive: true });
  copyFileSync("/bin/busybox", join(directory, "bin/busybox"));
  const applets = execFileSync("/bin/busybox", ["--list"], { encoding: "utf8" }).trim().split("\n");
  for (const applet of applets)
    if (applet !== "busybox") symlinkSync("busybox", join(directory, "bin", applet));
  writeFileSync(
    join(directory, "etc/passwd"),
    "root:x:0:0:root:/root:/bin/sh\nguest:x:1000:1000:guest:/tmp:/bin/sh\n",
  );
  writeFileSync(join(directory, "etc/group"), "root:x:0:\nguest:x:1000:\nextra:x:2000:guest\n");
  writeFileSync(join(directory, "www/index.html"), "hello from ocid\n");
  return directory;
}
