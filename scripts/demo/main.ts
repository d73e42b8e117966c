import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createRuntimeClient, NamespaceMode } from "@ocid/cri-api";
import { buildApps } from "../build/apps.ts";
import { fail } from "../run.ts";
import { buildStage, type Stage } from "./stage.ts";

const say = (text: string) => console.log(`\n\x1b[1m${text}\x1b[0m`);

async function main(): Promise<void> {
  say("Building the executables");
  await buildApps();
  const stage = await buildStage();
  try {
    await play(stage);
  } catch (error) {
    console.error(readFileSync(join(stage.root, "ocid.log"), "utf8").split("\n").slice(-30).join("\n"));
    throw error;
  } finally {
    await stage.strike();
  }
  say("Looking for anything left behind: mounts, namespaces, cgroups, processes");
  await stage.leaks.expectClean();
  console.log("  nothing\n");
}

async function play(stage: Stage): Promise<void> {
  const image = `${stage.registry}/demo/web:1`;
  const { ocic } = stage;

  say(`A registry listens on ${stage.registry}. Making a small image of a directory, and pushing it`);
  writeFileSync(join(stage.rootfs, "www/index.html"), "hello from a pod\n");
  ocic(["import", stage.rootfs, image, "--cmd", '["sh"]', "--env", "PATH=/bin"], { store: true });
  ocic(["push", image], { store: true });
  ocic(["rmi", image], { store: true });

  say("Starting ocid on a socket of its own, and pulling the image through the CRI");
  await stage.startDaemon();
  ocic(["pull", image]);
  ocic(["images"]);

  say("Running a pod with two containers on a bridge network");
  const pod = await runPod(stage, image);
  ocic(["pods"]);
  ocic(["ps"]);

  say("Their logs");
  ocic(["logs", pod.web]);
  ocic(["logs", pod.ticker]);

  say("A command in one of them");
  ocic(["exec", pod.web, "sh", "-c", "echo I am $(hostname) at $(ip -4 -o addr show eth0 | cut -d' ' -f7)"]);

  say(`Reaching one over the pod's address, ${pod.ip}`);
  const answer = await fetch(`http://${pod.ip}:8080/`).then(response => response.text());
  console.log(`  GET http://${pod.ip}:8080/\n    ${answer.trim()}`);
  if (answer !== "hello from a pod\n") throw new Error("the pod answered something else");

  say("Stopping the daemon and starting it again: the containers do not notice");
  await stage.stopDaemon();
  if (!(await fetch(`http://${pod.ip}:8080/`)).ok)
    throw new Error("the pod does not answer without the daemon");
  await stage.startDaemon();
  ocic(["ps"]);

  say("Is the image that runs here the one in the registry?");
  ocic([
    "--root",
    join(stage.root, "storage"),
    "--runroot",
    join(stage.root, "run"),
    "verify",
    "--container",
    pod.web,
  ]);
  console.log("\n  Now someone pushes another image under the same tag.");
  writeFileSync(join(stage.rootfs, "www/index.html"), "hello, version two\n");
  ocic(["--tls-verify=false", "import", stage.rootfs, `docker://${image}`, "--cmd", '["sh"]']);
  ocic(
    [
      "--root",
      join(stage.root, "storage"),
      "--runroot",
      join(stage.root, "run"),
      "verify",
      "--container",
      pod.web,
    ],
    { expectExit: 20 },
  );

  say("The image as a file system");
  const path = ocic(["mount", image], { store: true });
  console.log(`    ${readdirSync(path).join("  ")}`);
  ocic(["umount", image], { store: true });

  say("Stopping and removing everything");
  ocic(["stop", "demo"]);
  ocic(["rm", "demo"]);
  ocic(["rmi", image]);
  await stage.stopDaemon();
}

async function runPod(
  stage: Stage,
  image: string,
): Promise<{ readonly web: string; readonly ticker: string; readonly ip: string }> {
  using client = createRuntimeClient(join(stage.root, "ocid.sock"));
  const sandboxConfig = {
    metadata: { name: "demo", namespace: "default", uid: "demo-uid", attempt: 0 },
    hostname: "demo",
    logDirectory: join(stage.root, "logs"),
    linux: { securityContext: { namespaceOptions: { pid: NamespaceMode.CONTAINER } } },
  };
  const { podSandboxId } = await client.runPodSandbox({ config: sandboxConfig });
  const start = async (name: string, command: string[]) => {
    const config = {
      metadata: { name, attempt: 0 },
      image: { image },
      command,
      logPath: `${name}.log`,
      linux: {},
    };
    const { containerId } = await client.createContainer({ podSandboxId, sandboxConfig, config });
    await client.startContainer({ containerId });
    return containerId;
  };
  const web = await start("web", ["sh", "-c", "echo serving /www on 8080; exec httpd -f -p 8080 -h /www"]);
  const ticker = await start("ticker", [
    "sh",
    "-c",
    "for i in 1 2 3; do echo tick $i; done; exec sleep 1000",
  ]);
  const { status } = await client.podSandboxStatus({ podSandboxId });
  const ip = status?.network?.ip;
  if (!ip) throw new Error("the pod has no address");
  for (let attempt = 0; attempt < 100; attempt++) {
    if (
      await fetch(`http://${ip}:8080/`).then(
        response => response.ok,
        () => false,
      )
    )
      break;
    await new Promise(resolve => setTimeout(resolve, 20));
  }
  return { web, ticker, ip };
}

main().then(() => process.exit(0), fail);
