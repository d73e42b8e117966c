import { join } from "node:path";
import { openCni } from "@ocid/cni";
import type { Diagnosis } from "../finding.ts";
import type { NodeState } from "../node-state.ts";
import { programOf } from "../processes.ts";

/** Addresses and port rules of pods that are no more. */
export function networkLeftovers(node: NodeState): readonly Diagnosis[] {
  const { daemon, records, networkHolders, othersAttachments, otherDaemons } = node;
  const gone = (id: string) => (records.pods.get(id)?.phase ?? "stopped") === "stopped";
  const noted = new Set(records.attached);
  const ids = new Set([...records.attached, ...networkHolders.keys()].filter(gone));
  return [...ids].flatMap((id): Diagnosis[] => {
    const proved = noted.has(id) || records.pods.has(id);
    if (!proved && othersAttachments.has(id)) return [];
    const other = proved ? undefined : otherDaemons[0];
    const held = networkHolders.get(id)?.join(", ") ?? "a note of its network";
    const doubt =
      other && `; it may be that of ${programOf(other)} (pid ${other.pid}), which uses the network too`;
    return [
      {
        kind: "network",
        severity: "problem",
        what: `pod ${id.slice(0, 12)} is gone and still has ${held}${doubt ?? ""}`,
        why: "addresses run out, and ports of the node lead to nobody",
        remedy: "have the network's CNI plugins take it back (DEL)",
        ...(other ? {} : { fix: () => release(daemon.settings, id) }),
      },
    ];
  });
}

async function release(settings: NodeState["daemon"]["settings"], id: string): Promise<void> {
  const cni = await openCni({
    configDir: settings.cniConfigDir,
    pluginDirs: settings.cniPluginDirs,
    cacheDir: join(settings.stateDir, "cni"),
  });
  await cni.release(id);
}
