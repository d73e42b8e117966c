import { mkdirSync, rmSync, statSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { dirname } from "node:path";
import { OcidError, wrapError } from "@ocid/base";

/**
 * Listens for plugins on a socket that only its owner can open. A socket that nobody serves any more is taken over;
 * ALREADY_EXISTS when another runtime answers there.
 */
export async function listenForPlugins(path: string, onPlugin: (socket: Socket) => void): Promise<Server> {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat && !stat.isSocket())
    throw new OcidError("FAILED_PRECONDITION", `${path} exists and is no socket; choose another path`);
  if (stat && (await answers(path)))
    throw new OcidError("ALREADY_EXISTS", `another runtime serves plugins on ${path}; choose another path`);
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  rmSync(path, { force: true });
  const server = createServer(onPlugin);
  const mask = process.umask(0o177);
  try {
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(path, resolve);
    });
  } catch (error) {
    throw wrapError(`listen on ${path}`, error);
  } finally {
    process.umask(mask);
  }
  return server;
}

async function answers(path: string): Promise<boolean> {
  return await new Promise<boolean>(resolve => {
    const socket = connect(path);
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}
