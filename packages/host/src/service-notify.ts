import { OcidError } from "@ocid/base";
import { systemError } from "./errno.ts";
import { callRaw, lastErrno } from "./sys.ts";

/**
 * Tells the service manager of a state, such as `READY=1` (sd_notify(3)), by one datagram to the socket that it has
 * named in NOTIFY_SOCKET: a path, or a name in the abstract namespace behind an `@`. Without that variable nobody
 * wants to know, and nothing happens. UNAVAILABLE and its kin when the socket is not there any more.
 */
export function notifyService(
  state: string,
  socketName: string | undefined = process.env["NOTIFY_SOCKET"],
): void {
  if (socketName === undefined || socketName === "") return;
  const address = socketAddress(socketName);
  const fd = callRaw("socket", 1, 0x80002, 0); // AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC
  if (fd === -1) throw systemError("socket", lastErrno(), socketName);
  try {
    if (callRaw("connect", fd, address, address.byteLength) === -1)
      throw systemError("connect", lastErrno(), socketName);
    const message = Buffer.from(state);
    // MSG_NOSIGNAL | MSG_DONTWAIT: a service manager that does not read must not hold us.
    if (callRaw("send", fd, message, message.byteLength, 0x4040) === -1)
      throw systemError("send", lastErrno(), socketName);
  } finally {
    callRaw("close", fd);
  }
}

function socketAddress(name: string): Buffer {
  const path = Buffer.from(name);
  const abstract = name.startsWith("@");
  // sockaddr_un: a family of two bytes, then at most 108 bytes.
  if ((!abstract && !name.startsWith("/")) || path.byteLength > 107)
    throw new OcidError("INVALID_ARGUMENT", `NOTIFY_SOCKET ${JSON.stringify(name)} is no unix socket's name`);
  if (abstract) path[0] = 0;
  const address = Buffer.alloc(2 + path.byteLength + (abstract ? 0 : 1));
  address.writeUInt16LE(1, 0);
  path.copy(address, 2);
  return address;
}
