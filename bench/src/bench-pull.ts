import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { unmountBelow } from "@ocid/testkit";
import { describeBenchImage, makeBenchImage } from "./bench-image.ts";
import { type Cost, measure } from "./measure.ts";
import type { WorkReport } from "./report.ts";
import { findPeer, type WorkPlace } from "./work-place.ts";

interface Contestant {
  readonly name: string;
  run(root: string, runRoot: string, image: string): Cost;
}

/** Pull and unpack into an empty containers/storage store, each program from a cold start. */
export async function benchPull(place: WorkPlace, ocic: string, rounds: number): Promise<WorkReport> {
  const layout = join(place.path, "image");
  await makeBenchImage(layout);
  const image = `${place.registry.host}/bench/image:1`;
  measure(ocic, ["--tls-verify=false", "copy", `oci:${layout}:bench`, `docker://${image}`], place.env);
  const all = contestants(ocic, place.env);
  const costs = all.map(() => [] as Cost[]);
  for (let round = 0; round < rounds; round++) {
    for (const [at, contestant] of all.entries()) {
      const directory = join(place.path, `store-${round}-${at}`);
      mkdirSync(directory);
      costs[at]!.push(contestant.run(join(directory, "r"), join(directory, "rr"), image));
      // Removed outside of the measurement; what is not yet written must not burden the next one.
      unmountBelow(directory);
      rmSync(directory, { recursive: true });
      measure("sync", []);
    }
  }
  return {
    work: `pull and unpack: ${describeBenchImage(layout)}, ${rounds} rounds, cold processes`,
    series: all.map(({ name }, at) => ({
      name,
      wallS: costs[at]!.map(cost => cost.wallS),
      cpuS: costs[at]!.map(cost => cost.cpuS),
    })),
  };
}

function contestants(ocic: string, env: WorkPlace["env"]): readonly Contestant[] {
  const skopeo = findPeer("skopeo");
  const podman = findPeer("podman");
  return [
    {
      name: "ocic pull (synced to disk)",
      run: (root, runRoot, image) =>
        measure(ocic, ["--root", root, "--runroot", runRoot, "pull", image], env),
    },
    ...(skopeo === undefined
      ? []
      : [
          {
            name: "skopeo to containers-storage",
            run: (root: string, runRoot: string, image: string) =>
              measure(
                skopeo,
                [
                  "--insecure-policy",
                  "copy",
                  "--src-tls-verify=false",
                  `docker://${image}`,
                  `containers-storage:[overlay@${root}+${runRoot}]${image}`,
                ],
                env,
              ),
          },
        ]),
    ...(podman === undefined
      ? []
      : [
          {
            name: "podman pull",
            run: (root: string, runRoot: string, image: string) =>
              measure(
                podman,
                [
                  "--root",
                  root,
                  "--runroot",
                  runRoot,
                  "--storage-driver",
                  "overlay",
                  "pull",
                  "--tls-verify=false",
                  image,
                ],
                env,
              ),
          },
        ]),
  ];
}
