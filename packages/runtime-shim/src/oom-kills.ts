import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { type Cgroup, type CgroupLayout, readLostOomKills, readOomKills } from "@ocid/host";
import { cgroupOfRecord } from "./container-cgroups.ts";
import type { ContainerExit, ContainerRecord, ShimFiles } from "./container-files.ts";

/** Of a process that was killed by SIGKILL. */
const killedExitCode = 137;

/**
 * Tells whether the kernel has killed a container for want of memory. A scope of systemd goes with its last process, and
 * with it what it has counted, often before anybody has read it. On version 2 the pod's cgroup has counted it too: what
 * that had lost of cgroups before the container is noted, and what it has lost since is the container's. What one that
 * has ended accounts for is noted too, and added to what the others have to begin with.
 */
export class OomKills {
  readonly #files: ShimFiles;
  readonly #layout: CgroupLayout | undefined;

  /** `layout`: default that of this machine. */
  constructor(files: ShimFiles, layout?: CgroupLayout) {
    this.#files = files;
    this.#layout = layout;
  }

  /** To be called before a container is made whose cgroup may go by itself. */
  begin({ id, cgroupPath }: ContainerRecord): void {
    if (cgroupPath === undefined) return;
    const pod = dirname(cgroupPath);
    const kills = readLostOomKills(pod, this.#layout);
    if (kills !== undefined) this.#note(this.#files.of(id).oomKillsBefore, { kills, pod });
  }

  /** A container's end, once it is on disk, with the kernel's doing that its monitor has missed. */
  exitOf(id: string): ContainerExit | undefined {
    const exit = this.#files.readExit(id);
    if (!exit) return undefined;
    const killed = this.#wasKilled(id, exit.exitCode);
    return { ...exit, oomKilled: exit.oomKilled || killed };
  }

  #wasKilled(id: string, exitCode: number): boolean {
    const { oomKillsBefore, killed } = this.#files.of(id);
    const before = readNote(oomKillsBefore);
    const mayBe = exitCode === killedExitCode && !existsSync(killed);
    // Without a note the cgroup is there until the container is removed.
    const kills = before ? this.#killsSince(before, id) : mayBe ? this.#ownKills(id) : undefined;
    return mayBe && (kills ?? 0n) > 0n;
  }

  /** The same at each look: what the pod's cgroup loses later is not this container's any more. */
  #killsSince({ kills: before, pod }: Note, id: string): bigint {
    const { oomKills } = this.#files.of(id);
    const noted = readNote(oomKills);
    if (noted) return noted.kills;
    const found = this.#ownKills(id) ?? (readLostOomKills(pod, this.#layout) ?? 0n) - before;
    const kills = found > 0n ? found : 0n;
    this.#note(oomKills, { kills, pod });
    if (kills > 0n) this.#accountFor(kills, pod);
    return kills;
  }

  /** Undefined when the cgroup has gone, or nobody knows it. */
  #ownKills(id: string): bigint | undefined {
    const cgroup = this.#cgroupOf(id);
    if (!cgroup) return undefined;
    const kills = readOomKills(cgroup, this.#layout);
    return cgroup.exists() ? kills : undefined;
  }

  #cgroupOf(id: string): Cgroup | undefined {
    try {
      const record = this.#files.findRecord(id);
      return record && cgroupOfRecord(record, this.#layout);
    } catch {
      // A damaged record is told of by whoever needs it.
      return undefined;
    }
  }

  /** Others that have ended are not told apart from this one: the pod's cgroup does not say whose each kill was. */
  #accountFor(kills: bigint, pod: string): void {
    for (const id of this.#files.list()) {
      const { oomKillsBefore } = this.#files.of(id);
      const before = readNote(oomKillsBefore);
      if (before?.pod === pod && !this.#files.hasExit(id))
        this.#note(oomKillsBefore, { kills: before.kills + kills, pod });
    }
  }

  /** Not synced: a machine that goes down takes all cgroups with it. */
  #note(path: string, { kills, pod }: Note): void {
    try {
      writeFileSync(`${path}.new`, `${kills} ${pod}`, { mode: 0o600 });
      renameSync(`${path}.new`, path);
    } catch {
      // On a full disk it is found out anew at each look, for which nothing must fail.
    }
  }
}

interface Note {
  readonly kills: bigint;
  /** The pod's cgroup. */
  readonly pod: string;
}

function readNote(path: string): Note | undefined {
  try {
    const [, kills, pod] = /^(-?\d{1,19}) (\/.*)$/s.exec(readFileSync(path, "utf8")) ?? [];
    return kills === undefined ? undefined : { kills: BigInt(kills), pod: pod! };
  } catch {
    return undefined;
  }
}
