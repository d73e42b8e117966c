import { parentPort } from "node:worker_threads";
import { syncFilesystemNow } from "./sync.ts";

parentPort?.on("message", ({ id, path }: { readonly id: number; readonly path: string }) => {
  try {
    syncFilesystemNow(path);
    parentPort?.postMessage({ id });
  } catch (error) {
    parentPort?.postMessage({ id, error });
  }
});
