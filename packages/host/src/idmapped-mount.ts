import { closeSync, openSync } from "node:fs";
import { atCurrentDirectory, call, cString } from "./sys.ts";

const emptyPath = 0x1000;
const openTreeClone = 1;
const cloexec = 0o2000000;
const recursive = 0x8000;
const attributeIdmap = 0x100000n;

/**
 * Mounts `source` at `target` with the ids of a user namespace (mount_setattr(2), MOUNT_ATTR_IDMAP): what id 0 owns on
 * the disk, the namespace's root owns there. INVALID_ARGUMENT when the file system does not know how.
 */
export function idmappedMount(request: {
  readonly source: string;
  readonly target: string;
  readonly userNamespace: string;
  readonly recursive?: boolean;
}): void {
  const about = `${request.source} on ${request.target}`;
  const namespace = openSync(request.userNamespace, "r");
  try {
    const deep = request.recursive ? recursive : 0;
    const tree = call(
      "open_tree",
      about,
      atCurrentDirectory,
      cString(request.source),
      openTreeClone | cloexec | deep,
    );
    try {
      const attributes = Buffer.alloc(32);
      attributes.writeBigUInt64LE(attributeIdmap, 0);
      attributes.writeBigUInt64LE(BigInt(namespace), 24);
      call("mount_setattr", about, tree, cString(""), emptyPath | deep, attributes, 32);
      call("move_mount", about, tree, cString(""), atCurrentDirectory, cString(request.target), 0x4);
    } finally {
      call("close", about, tree);
    }
  } finally {
    closeSync(namespace);
  }
}
