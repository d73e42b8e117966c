import { OcidError } from "@ocid/base";
import { type LinuxContainerSecurityContext, SupplementalGroupsPolicy } from "@ocid/cri-api";

export interface ContainerUser {
  readonly uid: number;
  readonly gid: number;
  readonly groups: readonly number[];
}

/** Text of a file of the container's root file system; undefined where there is none. */
export type ReadInRoot = (path: string) => Promise<string | undefined>;

const maxId = 2 ** 32 - 2;

/**
 * Who a container runs as: run_as_user or run_as_username before the image's own `user[:group]`; names are looked up in
 * the container's /etc/passwd and /etc/group. With the policy Merge the groups of the image's user count too.
 * What is a number is that id: an image whose /etc/passwd calls root `1000` must not make 1000 root.
 */
export async function resolveUser(
  context: LinuxContainerSecurityContext | undefined,
  imageUser: string,
  read: ReadInRoot,
): Promise<ContainerUser> {
  if (context?.runAsGroup && !context.runAsUser && context.runAsUsername === "")
    throw new OcidError("INVALID_ARGUMENT", "run_as_group needs run_as_user or run_as_username");
  if (context?.runAsUser && context.runAsUsername !== "")
    throw new OcidError("INVALID_ARGUMENT", "run_as_user and run_as_username cannot be given together");
  const passwd = parsePasswd((await read("/etc/passwd")) ?? "");
  const groupFile = parseGroups((await read("/etc/group")) ?? "");
  const asked = context?.runAsUser ? String(context.runAsUser.value) : context?.runAsUsername || undefined;
  const [imageName = "", imageGroup] = imageUser.split(":");
  const wanted = asked ?? (imageName === "" ? "0" : imageName);
  const entry = findUser(passwd, wanted);
  const uid = numeric(wanted, "user") ?? entry?.uid;
  if (uid === undefined)
    throw new OcidError(
      "FAILED_PRECONDITION",
      `user ${JSON.stringify(wanted)} is not in the image's /etc/passwd`,
    );
  const groupText = context?.runAsGroup
    ? String(context.runAsGroup.value)
    : asked === undefined
      ? imageGroup
      : undefined;
  const gid =
    groupText === undefined || groupText === ""
      ? (entry?.gid ?? 0)
      : (numeric(groupText, "group") ?? groupFile.find(group => group.name === groupText)?.gid);
  if (gid === undefined)
    throw new OcidError(
      "FAILED_PRECONDITION",
      `group ${JSON.stringify(groupText)} is not in the image's /etc/group`,
    );
  const merge = context?.supplementalGroupsPolicy !== SupplementalGroupsPolicy.Strict;
  const member =
    merge && entry
      ? groupFile.filter(group => group.members.includes(entry.name)).map(group => group.gid)
      : [];
  const supplemental = (context?.supplementalGroups ?? []).map(id => checked(id, "supplemental group"));
  // The primary group is among the supplementary ones, as for a login.
  return { uid, gid, groups: [...new Set([gid, ...supplemental, ...member])] };
}

interface PasswdEntry {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
}

const isNumber = /^-?\d+$/;

function findUser(passwd: readonly PasswdEntry[], wanted: string): PasswdEntry | undefined {
  return isNumber.test(wanted)
    ? passwd.find(entry => entry.uid === Number(wanted))
    : passwd.find(entry => entry.name === wanted);
}

function numeric(text: string, what: string): number | undefined {
  return isNumber.test(text) ? checked(BigInt(text), what) : undefined;
}

function checked(id: bigint, what: string): number {
  if (id < 0n || id > BigInt(maxId))
    throw new OcidError("INVALID_ARGUMENT", `${what} id ${id} is out of range (0 to ${maxId})`);
  return Number(id);
}

function parsePasswd(text: string): readonly PasswdEntry[] {
  return text.split("\n").flatMap(line => {
    const [name, , uid, gid] = line.split(":");
    return name && isId(uid) && isId(gid) ? [{ name, uid: Number(uid), gid: Number(gid) }] : [];
  });
}

function parseGroups(
  text: string,
): readonly { readonly name: string; readonly gid: number; readonly members: readonly string[] }[] {
  return text.split("\n").flatMap(line => {
    const [name, , gid, members = ""] = line.split(":");
    return name && isId(gid)
      ? [{ name, gid: Number(gid), members: members.split(",").map(member => member.trim()) }]
      : [];
  });
}

function isId(text: string | undefined): boolean {
  return text !== undefined && /^\d{1,10}$/.test(text) && Number(text) <= maxId;
}
