import { join } from "node:path";
import { startDaemon } from "./daemon.ts";
import { type Cost, measure, memoryPeak, ownCpu, resetMemoryPeak } from "./measure.ts";
import { type Programs, peer, type WorkPlace } from "./work-place.ts";

/** A program that pulls an image into an empty store below a directory. */
export interface Puller {
  readonly name: string;
  pull(directory: string, image: string): Promise<Cost>;
  /** Of one that keeps a store of its own: empties it, outside of the measurement. */
  forget?(): Promise<void>;
}

/** Whoever can pull into a containers/storage store here, from a cold start. Ours comes first. */
export function pullers(programs: Programs, { env }: WorkPlace): readonly Puller[] {
  const store = (directory: string) => [join(directory, "r"), join(directory, "rr")] as const;
  const found: Puller[] = [
    {
      name: "ocic pull (synced)",
      pull(directory, image) {
        const [root, runRoot] = store(directory);
        return measure(programs.ocic, ["--root", root, "--runroot", runRoot, "pull", image], env);
      },
    },
  ];
  const skopeo = peer("skopeo");
  if (skopeo !== undefined)
    found.push({
      name: "skopeo",
      pull(directory, image) {
        const [root, runRoot] = store(directory);
        const target = `containers-storage:[overlay@${root}+${runRoot}]${image}`;
        const args = ["--insecure-policy", "copy", "--src-tls-verify=false", `docker://${image}`, target];
        return measure(skopeo, args, env);
      },
    });
  const podman = peer("podman");
  if (podman !== undefined)
    found.push({
      name: "podman",
      pull(directory, image) {
        const [root, runRoot] = store(directory);
        const args = ["--root", root, "--runroot", runRoot, "--storage-driver", "overlay"];
        return measure(podman, [...args, "pull", "--tls-verify=false", image], env);
      },
    });
  return found;
}

/** Our daemon, which the kubelet asks, on a store below `directory`; beside a peer's daemon it is what to compare. */
export async function startPullingDaemon(
  place: WorkPlace,
  programs: Programs,
  directory: string,
): Promise<Puller & AsyncDisposable> {
  const daemon = await startDaemon(place, programs, directory);
  return {
    name: "ocid PullImage (warm daemon, synced)",
    async pull(_directory, image) {
      resetMemoryPeak(daemon.pid);
      const before = ownCpu(daemon.pid);
      const start = performance.now();
      await daemon.images.pullImage({ image: { image } });
      const wall = (performance.now() - start) / 1000;
      return { wall, cpu: ownCpu(daemon.pid) - before, rss: memoryPeak(daemon.pid) };
    },
    async forget() {
      for (const { id } of (await daemon.images.listImages({})).images)
        await daemon.images.removeImage({ image: { image: id } });
    },
    [Symbol.asyncDispose]: () => daemon[Symbol.asyncDispose](),
  };
}
