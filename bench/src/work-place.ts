import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { type DockerRegistry, startDockerRegistry, unmountBelow } from "@ocid/testkit";

/** A file system of the benchmark's own with a journal (a machine's own may distort), and a registry on loopback. */
export interface WorkPlace extends AsyncDisposable {
  readonly path: string;
  readonly registry: DockerRegistry;
  readonly env: Readonly<Record<string, string | undefined>>;
}

export async function openWorkPlace(): Promise<WorkPlace> {
  const root = mkdtempSync(join(tmpdir(), "ocid-bench-"));
  const disk = join(root, "disk");
  const path = join(root, "mnt");
  mkdirSync(path);
  execFileSync("truncate", ["-s", "12G", disk]);
  execFileSync("mkfs.ext4", ["-q", "-F", disk]);
  execFileSync("mount", ["-o", "loop", disk, path]);
  const registryDirectory = join(root, "registry");
  mkdirSync(registryDirectory);
  const registry = await startDockerRegistry({ directory: registryDirectory });
  const conf = join(root, "registries.conf");
  writeFileSync(conf, `[[registry]]\nlocation = "${registry.host}"\ninsecure = true\n`);
  return {
    path,
    registry,
    env: { ...process.env, CONTAINERS_REGISTRIES_CONF: conf },
    async [Symbol.asyncDispose]() {
      await registry[Symbol.asyncDispose]();
      unmountBelow(root);
      rmSync(root, { recursive: true, force: true });
    },
  };
}

/** A peer's program: named by the environment (BENCH_SKOPEO, BENCH_PODMAN), or found in PATH; undefined when it is not here. */
export function findPeer(name: string): string | undefined {
  const named = process.env[`BENCH_${name.toUpperCase()}`];
  if (named !== undefined) return named;
  return (process.env["PATH"] ?? "")
    .split(delimiter)
    .map(directory => join(directory, name))
    .find(file => existsSync(file));
}
