import { OcidError } from "@ocid/base";
import { systemError } from "./errno.ts";
import { koffi, type NativeFunction } from "./koffi.ts";

// The one place with prototypes of C functions. A wrong one corrupts memory: compare with the man page of section 2 or
// 3 before changing any. Paths are NUL-terminated Buffers (`const void *`), because names need not be UTF-8.
const prototypes = {
  mount:
    "int mount(const void *source, const void *target, const void *type, unsigned long flags, const void *data)",
  umount2: "int umount2(const void *target, int flags)",
  fcntl: "int fcntl(int fd, int command, void *argument)",
  fcntlNumber: "int fcntl(int fd, int command, long argument)",
  lgetxattr: "int64_t lgetxattr(const void *path, const void *name, void *value, size_t size)",
  lsetxattr: "int lsetxattr(const void *path, const void *name, const void *value, size_t size, int flags)",
  lremovexattr: "int lremovexattr(const void *path, const void *name)",
  llistxattr: "int64_t llistxattr(const void *path, void *list, size_t size)",
  fgetxattr: "int64_t fgetxattr(int fd, const void *name, void *value, size_t size)",
  fsetxattr: "int fsetxattr(int fd, const void *name, const void *value, size_t size, int flags)",
  fremovexattr: "int fremovexattr(int fd, const void *name)",
  flistxattr: "int64_t flistxattr(int fd, void *list, size_t size)",
  mknodat: "int mknodat(int directory, const void *path, unsigned int mode, uint64_t device)",
  utimensat: "int utimensat(int directory, const void *path, const void *times, int flags)",
  futimens: "int futimens(int fd, const void *times)",
  unshare: "int unshare(int flags)",
  setns: "int setns(int fd, int type)",
  statfs: "int statfs(const void *path, void *buffer)",
  statx: "int statx(int directory, const void *path, int flags, unsigned int mask, void *buffer)",
  syncfs: "int syncfs(int fd)",
  sync_file_range: "int sync_file_range(int fd, int64_t offset, int64_t length, unsigned int flags)",
  ioctl: "int ioctl(int fd, unsigned long request, void *argument)",
  socket: "int socket(int domain, int type, int protocol)",
  socketpair: "int socketpair(int domain, int type, int protocol, void *pair)",
  connect: "int connect(int fd, const void *address, unsigned int length)",
  send: "int64_t send(int fd, const void *buffer, size_t size, int flags)",
  close: "int close(int fd)",
  prctl: "int prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d)",
  kill: "int kill(int pid, int signal)",
  waitpid: "int waitpid(int pid, void *status, int options)",
  waitid: "int waitid(int kind, unsigned int id, void *info, int options)",
  mallopt: "int mallopt(int parameter, int value)",
  malloc_trim: "int malloc_trim(size_t pad)",
  sethostname: "int sethostname(const void *name, size_t length)",
  posix_spawn:
    "int posix_spawn(void *pid, const void *path, const void *actions, const void *attributes, const char **argv, const char **envp)",
  posix_spawn_file_actions_init: "int posix_spawn_file_actions_init(void *actions)",
  posix_spawn_file_actions_destroy: "int posix_spawn_file_actions_destroy(void *actions)",
  posix_spawn_file_actions_adddup2: "int posix_spawn_file_actions_adddup2(void *actions, int fd, int target)",
  posix_spawn_file_actions_addopen:
    "int posix_spawn_file_actions_addopen(void *actions, int fd, const void *path, int flags, unsigned int mode)",
  posix_spawn_file_actions_addclosefrom_np:
    "int posix_spawn_file_actions_addclosefrom_np(void *actions, int from)",
  posix_spawn_file_actions_addchdir_np:
    "int posix_spawn_file_actions_addchdir_np(void *actions, const void *path)",
  posix_spawnattr_init: "int posix_spawnattr_init(void *attributes)",
  posix_spawnattr_destroy: "int posix_spawnattr_destroy(void *attributes)",
  posix_spawnattr_setflags: "int posix_spawnattr_setflags(void *attributes, short flags)",
  posix_spawnattr_setsigmask: "int posix_spawnattr_setsigmask(void *attributes, const void *mask)",
  posix_spawnattr_setsigdefault: "int posix_spawnattr_setsigdefault(void *attributes, const void *signals)",
  pipe2: "int pipe2(void *pair, int flags)",
  eventfd: "int eventfd(unsigned int initial, int flags)",
  read: "int64_t read(int fd, void *buffer, size_t size)",
} as const;

// Calls without a function in every libc, by number: the same on x86-64 and arm64, all being newer than the common
// table (asm-generic/unistd.h from 424 on).
const numbered = {
  pidfd_send_signal: [424, "int pidfd, int signal, void *info, unsigned int flags"],
  open_tree: [428, "int directory, const void *path, unsigned int flags"],
  move_mount: [429, "int from, const void *path, int to, const void *target, unsigned int flags"],
  fsopen: [430, "const void *type, unsigned int flags"],
  fsconfig: [431, "int fd, unsigned int command, const void *key, const void *value, int more"],
  fsmount: [432, "int fd, unsigned int flags, unsigned int attributes"],
  pidfd_open: [434, "int pid, unsigned int flags"],
  openat2: [437, "int directory, const void *path, void *how, size_t size"],
  mount_setattr: [442, "int directory, const void *path, unsigned int flags, void *attributes, size_t size"],
  quotactl_fd: [443, "unsigned int fd, unsigned int command, unsigned int id, void *data"],
} as const;

// Calls whose function in libc acts on all threads, where one is meant; the numbers differ (unistd.h of each).
const perThread = {
  setresuid: [{ x64: 117, arm64: 147 }, "int real, int effective, int saved"],
} as const;

type NumberedCall = keyof typeof numbered | keyof typeof perThread;
type CallName = keyof typeof prototypes | NumberedCall;

const bound = new Map<CallName, NativeFunction>();
let library: { func(prototype: string): NativeFunction } | undefined;

/** AT_FDCWD. */
export const atCurrentDirectory = -100;

/** Calls a C function and returns what it returns; errors are the caller's to look at. */
export function callRaw(name: CallName, ...values: readonly unknown[]): number {
  return Number(nativeFunction(name)(...values));
}

/** The same on a thread of libuv's pool, so that nobody waits for it here. The errno stays with that thread. */
export function callBeside(name: keyof typeof prototypes, ...values: readonly unknown[]): Promise<number> {
  return new Promise((resolve, reject) => {
    nativeFunction(name).async?.(...values, (error: unknown, result: number | bigint) => {
      // Buffers among them must be there until C has done with them.
      void values;
      if (error) reject(error);
      else resolve(Number(result));
    });
  });
}

function nativeFunction(name: CallName): NativeFunction {
  let native = bound.get(name);
  if (!native) {
    native = bind(name);
    bound.set(name, native);
  }
  return native;
}

function bind(name: CallName): NativeFunction {
  library ??= koffi().load("libc.so.6");
  if (name in prototypes) return library.func(prototypes[name as keyof typeof prototypes]);
  const numberedName = name as NumberedCall;
  const number = systemCallNumber(numberedName);
  const [, parameters] = { ...numbered, ...perThread }[numberedName];
  const native = library.func(`long syscall(long number, ${parameters})`);
  return (...values) => native(number, ...values);
}

/** The number of a call that is made by number, on x86-64 (`x64`) or arm64. */
export function systemCallNumber(name: NumberedCall, architecture: string = process.arch): number {
  const numbers: Readonly<Record<string, number>> =
    name in perThread
      ? perThread[name as keyof typeof perThread][0]
      : {
          x64: numbered[name as keyof typeof numbered][0],
          arm64: numbered[name as keyof typeof numbered][0],
        };
  const number = numbers[architecture];
  if (number === undefined)
    throw new OcidError(
      "UNIMPLEMENTED",
      `system call ${name} on processor ${architecture} (known: x64, arm64)`,
    );
  return number;
}

/** The errno of the last failed call of this thread. */
export function lastErrno(): number {
  return koffi().errno();
}

/** Calls a C function that returns -1 on failure; throws with the call's name and what it was `about`. */
export function call(name: CallName, about: string | undefined, ...values: readonly unknown[]): number {
  const result = callRaw(name, ...values);
  if (result === -1) throw systemError(name, lastErrno(), about);
  return result;
}

/** A path as C wants it. */
export function cString(text: string | Uint8Array): Buffer {
  const bytes = typeof text === "string" ? Buffer.from(text) : text;
  if (bytes.includes(0)) throw systemError("path", 22, JSON.stringify(Buffer.from(bytes).toString()));
  const result = Buffer.alloc(bytes.byteLength + 1);
  result.set(bytes);
  return result;
}

/** A path for an error message. */
export function shown(path: string | Uint8Array): string {
  return typeof path === "string" ? path : Buffer.from(path).toString("utf8");
}
