import { closeSync, constants, openSync } from "node:fs";
import { OcidError } from "@ocid/base";
import { errnoName, systemError } from "./errno.ts";
import { mountOf } from "./mount.ts";
import { call, callRaw, lastErrno } from "./sys.ts";

// Projects are what xfs and ext4 count the blocks and inodes of a tree by: each inode has the number of one, and gives
// it to what is made below it. The kernel answers the commands of xfs for ext4 too (fs/quota/quota.c), and
// quotactl_fd(2) takes any descriptor of the file system where quotactl(2) needs the node of its device.

/** What a project may take up on its file system, and what it does; a limit of 0 is none. */
export interface ProjectQuota {
  readonly limitBytes: number;
  readonly limitInodes: number;
  readonly bytes: number;
  readonly inodes: number;
}

// linux/fs.h: struct fsxattr is xflags, extsize, nextents, projid, cowextsize (32 bits each) and 8 bytes of nothing.
const getAttributes = 0x801c581f;
const setAttributes = 0x401c5820;
const attributesSize = 28;
const projectOffset = 12;
const inherit = 0x200;

// linux/dqblk_xfs.h, for projects (PRJQUOTA is 2).
const ofProjects = (command: number) => (command << 8) | 2;
const getQuota = ofProjects(0x5803);
const setLimits = ofProjects(0x5804);
const getState = ofProjects(0x5805);
const enforced = 0x20;
const allLimits = 0xf;
const blockBytes = 512;

/** The project that a directory belongs to; 0, which is none, also where the file system knows no projects. */
export function readProject(directory: string): number {
  return withDirectory(directory, fd => {
    const attributes = Buffer.alloc(attributesSize);
    if (callRaw("ioctl", fd, getAttributes, attributes) === -1) {
      const errno = lastErrno();
      if (["ENOTTY", "EOPNOTSUPP", "EINVAL"].includes(errnoName(errno))) return 0;
      throw systemError("ioctl FS_IOC_FSGETXATTR", errno, directory);
    }
    return attributes.readUInt32LE(projectOffset);
  });
}

/** Puts a directory, which should be empty, and all that will be made below it into a project. */
export function assignProject(directory: string, project: number): void {
  withDirectory(directory, fd => {
    const attributes = Buffer.alloc(attributesSize);
    call("ioctl", `FS_IOC_FSGETXATTR of ${directory}`, fd, getAttributes, attributes);
    attributes.writeUInt32LE((attributes.readUInt32LE(0) | inherit) >>> 0, 0);
    attributes.writeUInt32LE(project, projectOffset);
    call("ioctl", `FS_IOC_FSSETXATTR of ${directory}`, fd, setAttributes, attributes);
  });
}

/** Limits and use of a project on the file system of a directory; zeros for one that nothing belongs to. */
export function readProjectQuota(directory: string, project: number): ProjectQuota {
  return withDirectory(directory, fd => {
    const quota = Buffer.alloc(112);
    if (callRaw("quotactl_fd", fd, getQuota, project, quota) === -1) {
      const errno = lastErrno();
      if (errnoName(errno) !== "ENOENT") throw systemError("quotactl_fd", errno, directory);
      quota.fill(0);
    }
    return {
      limitBytes: Number(quota.readBigUInt64LE(8)) * blockBytes,
      limitInodes: Number(quota.readBigUInt64LE(24)),
      bytes: Number(quota.readBigUInt64LE(40)) * blockBytes,
      inodes: Number(quota.readBigUInt64LE(48)),
    };
  });
}

/** Sets the limits of a project on the file system of a directory; 0 takes one away. Needs CAP_SYS_ADMIN. */
export function setProjectLimits(
  directory: string,
  project: number,
  limits: { readonly bytes: number; readonly inodes: number },
): void {
  const quota = Buffer.alloc(112);
  quota.writeInt8(1, 0); // FS_DQUOT_VERSION
  quota.writeInt8(2, 1); // FS_PROJ_QUOTA
  quota.writeUInt16LE(allLimits, 2);
  quota.writeUInt32LE(project, 4);
  const blocks = BigInt(Math.ceil(limits.bytes / blockBytes));
  quota.writeBigUInt64LE(blocks, 8);
  quota.writeBigUInt64LE(blocks, 16);
  quota.writeBigUInt64LE(BigInt(limits.inodes), 24);
  quota.writeBigUInt64LE(BigInt(limits.inodes), 32);
  withDirectory(directory, fd => call("quotactl_fd", directory, fd, setLimits, project, quota));
}

/** FAILED_PRECONDITION, naming file system and mount option, where projects are not kept to their limits. */
export function requireProjectQuotas(directory: string): void {
  const state = Buffer.alloc(128);
  const errno = withDirectory(directory, fd =>
    callRaw("quotactl_fd", fd, getState, 0, state) === -1 ? errnoName(lastErrno()) : undefined,
  );
  if (errno === undefined && (state.readUInt16LE(2) & enforced) !== 0) return;
  const { fstype, source, target } = mountOf(directory);
  throw new OcidError(
    "FAILED_PRECONDITION",
    `the file system of ${directory} (${fstype} of ${source} on ${target}) keeps no project quotas${errno ? ` (quotactl_fd: ${errno})` : ""}; mount it with the option prjquota: xfs as it is, ext4 when made with -O project,quota`,
    { reason: "NoProjectQuotas" },
  );
}

function withDirectory<T>(directory: string, work: (fd: number) => T): T {
  const fd = openSync(directory, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
  try {
    return work(fd);
  } finally {
    closeSync(fd);
  }
}
