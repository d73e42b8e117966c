import { chmodSync, lstatSync } from "node:fs";
import { join } from "node:path";
import type { Diagnosis } from "../finding.ts";

/** Who may open what is the daemon's. */
export function accessFindings(stateDir: string, socket: string): readonly Diagnosis[] {
  const places = [
    // Roots of user namespaces pass through these, but may not look around.
    { path: stateDir, most: 0o711 },
    { path: join(stateDir, "sandboxes"), most: 0o711 },
    ...["records", "cni", "runtime"].map(name => ({ path: join(stateDir, name), most: 0o755 })),
    { path: socket, most: 0o660 },
  ];
  return places.flatMap(({ path, most }) => {
    const stat = lstatSync(path, { throwIfNoEntry: false });
    return stat ? judgeAccess(path, most, stat) : [];
  });
}

/** `most`: the mode with everything that is allowed. */
export function judgeAccess(
  path: string,
  most: number,
  { mode, uid }: { readonly mode: number; readonly uid: number },
): readonly Diagnosis[] {
  const permissions = mode & 0o777;
  const shown = (value: number) => value.toString(8).padStart(4, "0");
  if ((mode & 0o170000) === 0o120000)
    return [
      {
        kind: "access",
        severity: "problem",
        what: `${path} is a symbolic link`,
        why: "whoever owns the link decides where the daemon writes as root",
        remedy: "put a directory there",
      },
    ];
  if (uid !== 0)
    return [
      {
        kind: "access",
        severity: "problem",
        what: `${path} belongs to user ${uid}`,
        why: "that user can be root through it",
        remedy: `chown root ${path}, after a look at what is in it`,
      },
    ];
  if ((permissions & ~most) === 0) return [];
  return [
    {
      kind: "access",
      severity: "problem",
      what: `${path} has mode ${shown(permissions)}, more than ${shown(most)}`,
      why: "other users of the node can see or change what the daemon does as root",
      remedy: `chmod ${shown(permissions & most)} ${path}`,
      fix: () => chmodSync(path, permissions & most),
    },
  ];
}
