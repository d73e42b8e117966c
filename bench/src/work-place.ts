import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { type DockerRegistry, startDockerRegistry, unmountBelow } from "@ocid/testkit";

/** Paths of the executables that are measured. */
export interface Programs {
  readonly ocic: string;
  readonly ocid: string;
}

/** How much is measured: `quick` means fewer rounds and smaller inputs where those are many. */
export interface Effort {
  readonly rounds: number;
  readonly quick: boolean;
}

/** A file system of the benchmark's own with a journal (a machine's own may distort), and a registry on loopback. */
export interface WorkPlace extends AsyncDisposable {
  readonly path: string;
  /** A tmpfs, as /run is one. */
  readonly run: string;
  /** Where inputs are prepared. */
  readonly inputs: string;
  readonly registry: DockerRegistry;
  /** The same over HTTPS, with a certificate that nobody knows. */
  readonly tlsRegistry: DockerRegistry;
  readonly env: Readonly<Record<string, string | undefined>>;
}

export async function openWorkPlace(): Promise<WorkPlace> {
  forgetPages();
  const root = mkdtempSync(join(tmpdir(), "ocid-bench-"));
  const disk = join(root, "disk");
  const [path, inputs, run] = [join(root, "mnt"), join(root, "inputs"), join(root, "run")];
  for (const directory of [path, inputs, run]) mkdirSync(directory);
  mountDisk(disk, path);
  execFileSync("mount", ["-t", "tmpfs", "-o", "mode=755", "tmpfs", run]);
  const registry = await openRegistry(join(root, "registry"));
  const tlsRegistry = await openRegistry(join(root, "tls-registry"), makeCertificate(root));
  const conf = join(root, "registries.conf");
  writeFileSync(
    conf,
    [registry, tlsRegistry]
      .map(({ host }) => `[[registry]]\nlocation = "${host}"\ninsecure = true\n`)
      .join("\n"),
  );
  return {
    path,
    run,
    inputs,
    registry,
    tlsRegistry,
    env: { ...process.env, CONTAINERS_REGISTRIES_CONF: conf },
    async [Symbol.asyncDispose]() {
      await registry[Symbol.asyncDispose]();
      await tlsRegistry[Symbol.asyncDispose]();
      unmountBelow(root);
      rmSync(root, { recursive: true, force: true });
    },
  };
}

interface Certificate {
  readonly certificate: string;
  readonly key: string;
}

/**
 * Programs are read in as after a boot. Of one that was just built the kernel has larger blocks in memory, and counts
 * more pages for who maps it: 26 MB for a program of 155.
 */
function forgetPages(): void {
  execFileSync("sync");
  writeFileSync("/proc/sys/vm/drop_caches", "1");
}

/**
 * Past the page cache of the file that stands for the disk: through it each byte would be copied twice, and a sync would
 * write the file, which whoever syncs nothing is spared. A disk has no such second cache.
 */
function mountDisk(disk: string, path: string): void {
  execFileSync("fallocate", ["-l", "16G", disk]);
  execFileSync("mkfs.ext4", ["-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", disk]);
  const args = ["--find", "--show", "--direct-io=on", disk];
  const device = execFileSync("losetup", args, { encoding: "utf8" }).trim();
  try {
    execFileSync("mount", [device, path]);
  } finally {
    // It stays until the file system is unmounted.
    execFileSync("losetup", ["--detach", device]);
  }
}

function openRegistry(directory: string, tls?: Certificate): Promise<DockerRegistry> {
  mkdirSync(directory);
  return startDockerRegistry(tls ? { directory, tls } : { directory });
}

function makeCertificate(root: string): Certificate {
  const [certificate, key] = [join(root, "tls.crt"), join(root, "tls.key")];
  const subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"];
  const kind = [
    "req",
    "-x509",
    "-newkey",
    "ec",
    "-pkeyopt",
    "ec_paramgen_curve:P-256",
    "-nodes",
    "-days",
    "2",
  ];
  execFileSync("openssl", [...kind, ...subject, "-keyout", key, "-out", certificate], { stdio: "ignore" });
  return { certificate, key };
}

/** A peer's program: named by the environment (BENCH_SKOPEO, BENCH_PODMAN), or found in PATH; undefined when it is not here. */
export function peer(name: string): string | undefined {
  const named = process.env[`BENCH_${name.toUpperCase()}`];
  if (named !== undefined) return named;
  return (process.env["PATH"] ?? "")
    .split(delimiter)
    .map(directory => join(directory, name))
    .find(file => existsSync(file));
}
