import { exists, type FileEntry, type FileNode, isDirectory } from "./file-tree.ts";

/** What is different of a file that both images have; times are not compared. */
export type FileAspect = "type" | "content" | "mode" | "owner" | "target" | "xattrs" | "device";

export interface FileDifference {
  readonly kind: "added" | "changed" | "removed";
  /** Without a slash before it. */
  readonly path: string;
  readonly before?: FileEntry | undefined;
  readonly after?: FileEntry | undefined;
  /** Of `changed`. */
  readonly aspects?: readonly FileAspect[] | undefined;
}

/** Differences between two trees, sorted by path. What both share is the same object, and is passed over. */
export function* diffTrees(
  before: FileNode | undefined,
  after: FileNode | undefined,
  path = "",
): Generator<FileDifference> {
  if (before === after) return;
  const old = before && exists(before) ? before : undefined;
  const now = after && exists(after) ? after : undefined;
  if (path !== "") {
    if (old && now) {
      const aspects = compare(old, now);
      if (aspects.length > 0) yield { kind: "changed", path, before: old.entry, after: now.entry, aspects };
    } else if (now) yield { kind: "added", path, after: now.entry };
    else if (old) yield { kind: "removed", path, before: old.entry };
  }
  const names = new Set([...(old?.children?.keys() ?? []), ...(now?.children?.keys() ?? [])]);
  for (const name of [...names].sort())
    yield* diffTrees(
      old?.children?.get(name),
      now?.children?.get(name),
      path === "" ? name : `${path}/${name}`,
    );
}

/** Whether what lies below both trees has a say in how they differ: one of them knows of a path and the other does not. */
export function needsBelow(before: FileNode | undefined, after: FileNode | undefined): boolean {
  if (before === after) return false;
  if (!before || !after) return true;
  if (before.closed !== after.closed) return true;
  // An implied directory may be described below, where both images have the same.
  if (isDirectory(before) && isDirectory(after) && !before.entry !== !after.entry && !before.closed)
    return true;
  const names = new Set([...(before.children?.keys() ?? []), ...(after.children?.keys() ?? [])]);
  for (const name of names) {
    const [old, now] = [before.children?.get(name), after.children?.get(name)];
    if (old && now ? needsBelow(old, now) : !(old ? after : before).closed) return true;
  }
  return false;
}

function compare(old: FileNode, now: FileNode): readonly FileAspect[] {
  const [a, b] = [old.entry, now.entry];
  if (!a || !b) return isDirectory(old) === isDirectory(now) ? [] : ["type"];
  if (a === b) return [];
  const aspects: FileAspect[] = [];
  if (a.type !== b.type) aspects.push("type");
  else {
    if (a.size !== b.size || a.digest !== b.digest) aspects.push("content");
    if (a.linkTarget !== b.linkTarget) aspects.push("target");
    if (a.device?.join() !== b.device?.join()) aspects.push("device");
  }
  if (a.mode !== b.mode && a.type !== "symlink") aspects.push("mode");
  if (a.uid !== b.uid || a.gid !== b.gid) aspects.push("owner");
  if (xattrText(a) !== xattrText(b)) aspects.push("xattrs");
  return aspects;
}

function xattrText({ xattrs = {} }: FileEntry): string {
  return JSON.stringify(Object.entries(xattrs).sort());
}
