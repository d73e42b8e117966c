import { createRegistryClient } from "@ocid/registry";
import { copyImage, createImageDestination, openImageSource, parseImageName } from "../src/index.ts";

// Copies from the first name to the second: a process of its own, for a test to kill.

const [from, to] = process.argv.slice(2);
await using registry = createRegistryClient({ tlsVerify: false });
await using source = await openImageSource(parseImageName(from!), { registry });
await using destination = createImageDestination(parseImageName(to!), { registry });
await copyImage(source, destination);
