import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { unmountBelow } from "@ocid/testkit";
import { inputs, makeInput } from "./bench-inputs.ts";
import { columns } from "./bench-pull.ts";
import { pullers, startPullingDaemon } from "./contestants.ts";
import { type Cost, measure } from "./measure.ts";
import type { WorkReport } from "./report.ts";
import { type Programs, peer, type WorkPlace } from "./work-place.ts";

/** An image between registries and layouts, over HTTP and HTTPS. */
export async function benchCopy(
  place: WorkPlace,
  programs: Programs,
  rounds: number,
): Promise<readonly WorkReport[]> {
  const layout = join(place.inputs, "copy");
  await makeInput(layout, inputs["typical"]!);
  const copyOurs = (from: string, to: string) =>
    measure(programs.ocic, ["--tls-verify=false", "copy", from, to], place.env);
  const skopeo = peer("skopeo");
  const copyTheirs = (from: string, to: string) => {
    const flags = ["--insecure-policy", "copy", "--src-tls-verify=false", "--dest-tls-verify=false"];
    return measure("unshare", [...withoutBlobCache(), skopeo!, ...flags, from, to], place.env);
  };
  const [http, https] = [
    `docker://${place.registry.host}/copy/in:1`,
    `docker://${place.tlsRegistry.host}/copy/in:1`,
  ];
  await copyOurs(`oci:${layout}:bench`, http);
  await copyOurs(`oci:${layout}:bench`, https);
  const fresh = (host: string, name: string) => `docker://${host}/${name}/out:1`;
  const toLayout = (name: string) => `oci:${join(place.path, name)}:bench`;
  // Into a repository that has nothing yet, which a registry could else take blobs over from.
  const paths: readonly (readonly [string, string, (name: string) => string])[] = [
    ["registry to OCI layout", http, toLayout],
    ["registry to OCI layout over HTTPS", https, toLayout],
    ["registry to registry", http, name => fresh(place.tlsRegistry.host, name)],
    ["OCI layout to registry", `oci:${layout}:bench`, name => fresh(place.registry.host, name)],
  ];
  const reports: WorkReport[] = [];
  for (const [work, from, target] of paths) {
    const ours: Cost[] = [];
    const theirs: Cost[] = [];
    const prefix = work.toLowerCase().replace(/[^a-z]+/g, "-");
    for (let round = 0; round < rounds; round++) {
      ours.push(await copyOurs(from, target(`${prefix}-${round}-a`)));
      if (skopeo !== undefined) theirs.push(await copyTheirs(from, target(`${prefix}-${round}-b`)));
    }
    reports.push({
      work: `copy ${work}, ${rounds} rounds`,
      series: [
        { name: "ocic copy", metrics: columns(ours) },
        ...(skopeo === undefined ? [] : [{ name: "skopeo", metrics: columns(theirs) }]),
      ],
      goals: [{ metric: "wall", against: "skopeo", atMost: 1 }],
    });
  }
  return reports;
}

/**
 * skopeo remembers in which repositories a registry has which blobs, of all copies before, and would have the registry
 * take them from there; as root there is no option against it. Some milliseconds for a mount namespace are theirs.
 */
function withoutBlobCache(): readonly string[] {
  const cache = "/var/lib/containers/cache";
  mkdirSync(cache, { recursive: true });
  return ["--mount", "sh", "-c", 'mount -t tmpfs none "$0" && exec "$@"', cache];
}

/** A pull of an image of which only a small layer has changed since the last pull. */
export async function benchRepull(
  place: WorkPlace,
  programs: Programs,
  rounds: number,
): Promise<readonly WorkReport[]> {
  const base = inputs["typical"]!;
  const host = place.registry.host;
  for (const version of [1, 2]) {
    const layout = join(place.inputs, `repull-${version}`);
    const last = { from: ["/usr/share/doc"], entries: 100 + version, megabytes: 5 };
    await makeInput(layout, { ...base, layers: [...base.layers.slice(1), last] });
    const image = `docker://${host}/bench/repull:${version}`;
    await measure(programs.ocic, ["--tls-verify=false", "copy", `oci:${layout}:bench`, image], place.env);
    rmSync(layout, { recursive: true });
  }
  await using daemon = await startPullingDaemon(place, programs, join(place.path, "ocid-repull"));
  const all = [...pullers(programs, place), daemon];
  const costs = all.map(() => [] as Cost[]);
  for (let round = 0; round < rounds; round++)
    for (const [at, puller] of all.entries()) {
      const directory = join(place.path, "store");
      mkdirSync(directory);
      await puller.pull(directory, `${host}/bench/repull:1`);
      await measure("sync", ["-f", place.path]);
      costs[at]!.push(await puller.pull(directory, `${host}/bench/repull:2`));
      unmountBelow(directory);
      rmSync(directory, { recursive: true });
      await puller.forget?.();
    }
  return [
    {
      work: `pull again, one small layer new, ${rounds} rounds`,
      series: all.map((puller, at) => ({ name: puller.name, metrics: columns(costs[at]!) })),
      goals: [
        { metric: "wall", against: "skopeo", atMost: 0.5 },
        { of: daemon.name, metric: "wall", against: "skopeo", atMost: 0.5 },
      ],
    },
  ];
}
