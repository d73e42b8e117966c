import { readFileSync } from "node:fs";
import { openStore } from "@ocid/storage";
import { type Blob, storeImage } from "./store-fixture.ts";

// One operation on a store, in a process of its own that may be killed at any step.

const [operation, root, runRoot, layersFile, imageStore] = process.argv.slice(2) as [
  string,
  string,
  string,
  string,
  string?,
];
const layers = JSON.parse(readFileSync(layersFile, "utf8")) as Blob[];
const container = "c".repeat(64);
await using store = await openStore({ root, runRoot, imageStore: imageStore || undefined });

switch (operation) {
  case "pull":
    await storeImage(store, "localhost/crash:1", layers);
    break;
  case "remove":
    await store.removeImage("localhost/crash:1");
    break;
  case "create": {
    const image = await store.getImage("localhost/crash:1");
    await store.createContainer({ id: container, name: "crash", imageId: image.id, metadata: '{"ocid":{}}' });
    await store.mountContainer(container);
    break;
  }
  case "mount":
    await store.unmountImage(await store.mountImage("localhost/crash:1"));
    break;
  case "commit":
    await store.commitContainer(container, {
      names: ["localhost/committed:1"],
      created: "2024-05-06T07:08:09Z",
    });
    break;
  case "repair": {
    const blob = layers.at(-1)!;
    const { layerId } = await store.getImage("localhost/crash:1");
    await using staged = await store.stageLayer({ ...blob, source: { kind: "file", path: blob.path } });
    await store.restoreLayer(layerId!, staged);
    break;
  }
  case "quarantine":
    if (await store.findImage("localhost/crash:1"))
      await store.quarantineImage("localhost/crash:1", "its content has changed");
    break;
  case "put-back":
    for (const { id } of store.listQuarantine()) await store.restoreQuarantined(id);
    break;
  case "delete":
    await store.removeContainer(container);
    break;
  default:
    throw new Error(`no such operation: ${operation}`);
}
