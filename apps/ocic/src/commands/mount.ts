import { OcidError } from "@ocid/base";
import type { Command } from "commander";
import { type GlobalOptions, openLocalStore } from "../global-options.ts";
import { print, printResult, printRows } from "../output/output.ts";

/** Images as file systems: mount, umount. */
export function addMountCommands(program: Command): void {
  program
    .command("mount [image]")
    .description("mount an image read-only and print where; without an image, list what is mounted")
    .action(async (image: string | undefined, _, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions>();
      await using store = await openLocalStore(options);
      if (image !== undefined) {
        const mounted = await store.mountImage(image);
        printResult(options.json ?? false, mounted, () => `${mounted.path}\n`);
        return;
      }
      const mounted = (await store.listImages()).flatMap(record => {
        const path = store.imageMountPath(record);
        return path === undefined ? [] : [{ image: record.names[0] ?? record.id, path }];
      });
      printRows(
        options.json ?? false,
        mounted,
        ["image", "path"],
        mounted.map(entry => [entry.image, entry.path]),
      );
    });
  program
    .command("umount <images...>")
    .description("give mounts of images back; the last user's unmounts")
    .option("-f, --force", "unmount whoever else uses it")
    .action(async (images: string[], flags: { force?: boolean }, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions>();
      await using store = await openLocalStore(options);
      for (const image of images) {
        if (!(await store.unmountImage(image, { all: flags.force ?? false })))
          throw new OcidError("FAILED_PRECONDITION", `image ${image} is not mounted`);
        print(`${image}\n`);
      }
    });
}
