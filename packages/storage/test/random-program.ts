import { randomInt } from "node:crypto";
import { readFileSync } from "node:fs";
import { isOcidError } from "@ocid/base";
import { openStore } from "@ocid/storage";
import { type Blob, storeImage } from "./store-fixture.ts";

// Random operations on a store that others use too. Prints one line each; ends with 1 at anything but the refusals
// that a shared store must make.

const [name, root, runRoot, imagesFile, count] = process.argv.slice(2) as [
  string,
  string,
  string,
  string,
  string,
];
const images = JSON.parse(readFileSync(imagesFile, "utf8")) as Blob[][];
await using store = await openStore({ root, runRoot });
const pick = <T>(list: readonly T[]): T => list[randomInt(list.length)]!;
let serial = 0;
const mounted: string[] = [];

const operations: Record<string, () => Promise<unknown>> = {
  async pull() {
    const at = randomInt(images.length);
    await storeImage(store, `localhost/${name}-${at}:1`, images[at]!);
  },
  async remove() {
    const image = pick(await store.listImages());
    if (image && !image.names.some(other => other.includes("kept"))) await store.removeImage(image.id);
  },
  async untag() {
    const own = (await store.listImages()).flatMap(image => image.names.filter(tag => tag.includes(name)));
    if (own.length > 0) await store.untagImage([pick(own)]);
  },
  async create() {
    const image = pick(await store.listImages());
    if (!image) return;
    const id = (name.charCodeAt(0).toString(16) + String(++serial)).padStart(64, "a");
    await store.createContainer({
      id,
      name: `${name}-${serial}`,
      imageId: image.id,
      metadata: '{"ocid":{}}',
    });
    const { path } = await store.mountContainer(id);
    readFileSync(`${path}/data/base`);
    mounted.push(id);
  },
  async delete() {
    const id = mounted.shift();
    if (id) await store.removeContainer(id);
  },
  async mountImage() {
    const image = pick(await store.listImages());
    if (!image) return;
    const mounted = await store.mountImage(image.id);
    readFileSync(`${mounted.path}/data/base`);
    await store.unmountImage(mounted);
  },
  check: async () => {
    for await (const finding of store.check()) throw new Error(finding.message);
  },
};

const refusals = ["NOT_FOUND", "FAILED_PRECONDITION"] as const;
for (let at = 0; at < Number(count); at++) {
  const operation = pick(Object.keys(operations));
  try {
    await operations[operation]!();
    console.log(operation);
  } catch (error) {
    if (!refusals.some(code => isOcidError(error, code))) throw error;
    console.log(`${operation} refused: ${(error as Error).message}`);
  }
}
for (const id of mounted) await store.removeContainer(id);
