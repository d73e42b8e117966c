import { OcidError } from "@ocid/base";
import { show } from "./tar-header.ts";

const maxDepth = 1024;

/**
 * Cleans a name of an archive into a path relative to the archive's root: `./a//b/` is `a/b`, the root itself is "".
 * What would climb out is INVALID_ARGUMENT.
 */
export function entryPath(name: string | Buffer): string {
  // A latin1 string stands for the bytes of a name that is not UTF-8; `onDisk` turns it back.
  const text = typeof name === "string" ? name : `\udfff${name.toString("latin1")}`;
  // What is short cannot be deep.
  if (text.length <= 2 * maxDepth && simple.test(text) && !text.includes("//")) return text;
  const raw = text.startsWith("\udfff");
  const parts = (raw ? text.slice(1) : text).split("/").filter(part => part !== "" && part !== ".");
  if (parts.includes(".."))
    throw new OcidError("INVALID_ARGUMENT", `archive entry ${show(name)} climbs out of its root`, {
      reason: "PathEscape",
    });
  if (parts.length > maxDepth)
    throw new OcidError(
      "INVALID_ARGUMENT",
      `archive entry ${show(name)} is nested deeper than ${maxDepth} directories`,
    );
  return raw ? `\udfff${parts.join("/")}` : parts.join("/");
}

const simple = /^(?:[^./\udfff][^/\udfff]*\/)*[^./\udfff][^/\udfff]*$/;

/** The path on disk: bytes where the name is not UTF-8. */
export function onDisk(root: string, path: string): string | Buffer {
  if (path === "") return root;
  if (!path.startsWith("\udfff")) return `${root}/${path}`;
  return Buffer.concat([Buffer.from(`${root}/`), Buffer.from(path.slice(1), "latin1")]);
}

export function parentOf(path: string): string {
  const slash = path.lastIndexOf("/");
  if (slash !== -1) return path.slice(0, slash);
  return "";
}

export function baseOf(path: string): string {
  const name = path.slice(path.lastIndexOf("/") + 1);
  return name.startsWith("\udfff") ? name.slice(1) : name;
}
