import { readFileSync } from "node:fs";
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { startPullingDaemon } from "/work/main/bench/src/contestants.ts";
const lab = JSON.parse(readFileSync("/tmp/lab.json", "utf8"));
const [n, names, ...bins] = process.argv.slice(2);
process.env["CONTAINERS_REGISTRIES_CONF"] = lab.conf;
const place: any = { path: lab.path, env: { ...process.env, CONTAINERS_REGISTRIES_CONF: lab.conf }, registry: { host: lab.registry } };
await using stack = new AsyncDisposableStack();
const daemons = [];
for (const [i, bin] of bins.entries()) daemons.push(stack.use(await startPullingDaemon(place, { ocid: bin, ocic: "" }, join(lab.path, `ocid-lab-${i}`))));
const med = (x: number[]) => x.toSorted((a, b) => a - b)[x.length >> 1]!;
for (const name of names!.split(",")) {
  const costs = bins.map(() => [] as any[]);
  for (let r = 0; r < Number(n); r++)
    for (const [i, d] of daemons.entries()) {
      costs[i]!.push(await d.pull("", `${lab.registry}/bench/${name}:1`));
      await d.forget!();
      execFileSync("sync", ["-f", lab.path]);
    }
  for (const [i, bin] of bins.entries()) {
    const w = costs[i]!.map(c => c.wall), c = costs[i]!.map(c => c.cpu);
    console.log(name, bin, "wall", Math.min(...w).toFixed(2), med(w).toFixed(2), "cpu", Math.min(...c).toFixed(2), med(c).toFixed(2), "rss", Math.max(...costs[i]!.map(c => c.rss)).toFixed(0));
  }
}
