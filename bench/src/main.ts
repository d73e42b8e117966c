import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { benchPull } from "./bench-pull.ts";
import { benchStart } from "./bench-start.ts";
import { formatReport, type WorkReport } from "./report.ts";
import { findPeer, openWorkPlace } from "./work-place.ts";

// `npm run bench`, `npm run bench -- pull start --rounds 5`: us and the peers on the same input in one run.
const repository = join(import.meta.dirname, "../..");
const programs = {
  ocic: join(repository, "apps/ocic/dist/ocic"),
  ocid: join(repository, "apps/ocid/dist/ocid"),
};
const args = process.argv.slice(2);
const roundsAt = args.indexOf("--rounds");
const rounds = roundsAt === -1 ? 5 : Number(args[roundsAt + 1]);
const wanted = args.filter((word, at) => !word.startsWith("--") && at !== roundsAt + 1);

const reports: WorkReport[] = [];
await using place = await openWorkPlace();
for (const helper of ["pigz", "igzip"])
  console.log(`${helper} in PATH, which changes what peers do: ${findPeer(helper) ? "yes" : "no"}`);
for (const peer of ["skopeo", "podman"])
  if (!findPeer(peer)) console.log(`${peer} is not here: not measured`);
if (wanted.length === 0 || wanted.includes("pull"))
  reports.push(await benchPull(place, programs.ocic, rounds));
if (wanted.length === 0 || wanted.includes("start"))
  reports.push(await benchStart(place, programs, Math.max(rounds, 10)));
console.log(`\n${reports.map(formatReport).join("\n")}`);
mkdirSync(join(repository, "bench/results"), { recursive: true });
writeFileSync(join(repository, "bench/results/latest.json"), JSON.stringify(reports, null, 2));
