import { isAbsolute } from "node:path";
import { messageOf } from "@ocid/base";
import { isLocal, parseListen } from "../observe/listen-address.ts";
import type { Config } from "./config-schema.ts";

/** What is wrong with a configuration whose values are each of their type: by the key that is to be changed. */
export function checkConfig(config: Config): readonly { readonly key: string; readonly message: string }[] {
  const paths = {
    "storage.root": config.storage.root,
    "storage.runroot": config.storage.runroot,
    "storage.imagestore": config.storage.imagestore || "/",
    "server.listen": config.server.listen,
    "server.state_dir": config.server.state_dir,
    "network.config_dir": config.network.config_dir,
    "image.signature_policy": config.image.signature_policy || "/",
    "image.signature_policy_dir": config.image.signature_policy_dir || "/",
    "nri.socket": config.nri.socket,
    "nri.plugin_path": config.nri.plugin_path,
    "nri.plugin_config_path": config.nri.plugin_config_path,
  };
  const hooks = config.runtime.hooks_dir.map(path => ["runtime.hooks_dir", path] as const);
  const problems = [...Object.entries(paths), ...hooks]
    .filter(([, path]) => !isAbsolute(path))
    .map(([key, path]) => ({ key, message: `expected an absolute path, found ${JSON.stringify(path)}` }));
  if (!Object.hasOwn(config.runtimes, config.runtime.default)) {
    const known = Object.keys(config.runtimes).join(", ");
    problems.push({
      key: "runtime.default",
      message: `no [runtimes.${config.runtime.default}] is configured (known: ${known})`,
    });
  }
  if (config.storage.imagestore === config.storage.root)
    problems.push({
      key: "storage.imagestore",
      message: `expected another directory than storage.root, or none, found ${JSON.stringify(config.storage.root)}`,
    });
  const { stream_tls_cert: cert, stream_tls_key: key } = config.server;
  if ((cert === "") !== (key === ""))
    problems.push({
      key: cert === "" ? "server.stream_tls_key" : "server.stream_tls_cert",
      message: "server.stream_tls_cert and server.stream_tls_key belong together",
    });
  const message = pageProblem(config.http);
  if (message !== undefined) problems.push({ key: "http.listen", message });
  return problems;
}

/** What the page shows is for whoever may log in on the node. */
function pageProblem({ listen, remote }: Config["http"]): string | undefined {
  if (listen === "") return undefined;
  try {
    if (remote || isLocal(parseListen(listen, "127.0.0.1:9538"))) return undefined;
    return `${listen} is reached from other machines, and the page has no password; use 127.0.0.1, or set http.remote`;
  } catch (error) {
    return messageOf(error);
  }
}
