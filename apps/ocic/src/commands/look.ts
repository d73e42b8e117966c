import { OcidError } from "@ocid/base";
import { diffImages, type ImageDifference, type ListedFile, openImageFiles } from "@ocid/image-copy";
import type { Command } from "commander";
import { cancellation } from "../cancellation.ts";
import { type GlobalOptions, platformOf, registryClient } from "../global-options.ts";
import { printResult, writeAll } from "../output/output.ts";
import { printable } from "../output/printable.ts";
import { formatBytes } from "../output/units.ts";
import { showContainerChanges } from "./changes.ts";
import { openForReading, type Places, sharedStore } from "./image-places.ts";
import { splitPath } from "./split-path.ts";

/** Looking into images where they are, without pulling them: ls, cat, diff. */
export function addLookCommands(program: Command): void {
  program
    .command("ls <image[:/path]>")
    .description("list the files of an image where it is; layers are fetched from the top until all is known")
    .option("-l, --long", "with mode, owner, size and time")
    .option("-R, --recursive", "also what is in the directories below")
    .action(async (text: string, flags: { long?: boolean; recursive?: boolean }, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions>();
      await using stack = new AsyncDisposableStack();
      const signal = cancellation();
      const { image, path } = splitPath(text);
      const source = await openForReading(image, placesOf(options, stack), signal);
      const files = stack.use(
        await openImageFiles(source, { platform: platformOf(options), listOnly: true, signal }),
      );
      const found = await files.list(path ?? "/", { recursive: flags.recursive ?? false, signal });
      const line = flags.long ? longLine : (file: ListedFile) => nameOf(file, path ?? "/");
      printResult(options.json ?? false, found, () => found.map(file => `${line(file)}\n`).join(""));
    });
  program
    .command("cat <image:/path>")
    .description(
      "write a file of an image to standard output; only the layers down to the one that has it are fetched",
    )
    .action(async (text: string, _, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions>();
      const { image, path } = splitPath(text);
      if (path === undefined)
        throw new OcidError("INVALID_ARGUMENT", `${text} names no file; write IMAGE:/path`);
      await using stack = new AsyncDisposableStack();
      const signal = cancellation();
      const source = await openForReading(image, placesOf(options, stack), signal);
      const files = stack.use(await openImageFiles(source, { platform: platformOf(options), signal }));
      for await (const chunk of files.read(path, { signal })) writeAll(1, chunk);
    });
  program
    .command("diff <image> [other]")
    .description(
      "how the second image differs from the first, in config and files: added (A), changed (C), removed (D); of one container what it has changed",
    )
    .option("--no-files", "manifest and config only, so that no layer is fetched")
    .action(async (image: string, other: string | undefined, flags: { files: boolean }, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions>();
      if (other === undefined) return await showContainerChanges(image, options);
      await using stack = new AsyncDisposableStack();
      const signal = cancellation();
      const places = placesOf(options, stack);
      const [before, after] = [await openForReading(image, places), await openForReading(other, places)];
      const found = await diffImages(before, after, {
        platform: platformOf(options),
        files: flags.files,
        signal,
      });
      printResult(options.json ?? false, found, () => showDifference(found));
    });
}

function placesOf(options: GlobalOptions, stack: AsyncDisposableStack): Places {
  return { client: stack.use(registryClient(options)), store: sharedStore(stack, options), stack };
}

/** As it is called from the directory that was asked for. */
function nameOf(file: ListedFile, directory: string): string {
  const prefix = directory.replace(/^\/+|\/+$/g, "");
  const name = file.path.startsWith(`${prefix}/`) ? file.path.slice(prefix.length + 1) : file.path;
  return `${printable(readable(name))}${file.type === "directory" ? "/" : ""}`;
}

const letters = {
  file: "-",
  directory: "d",
  symlink: "l",
  character: "c",
  block: "b",
  fifo: "p",
} as const;

function longLine(file: ListedFile): string {
  const size = file.device ? file.device.join(",") : formatBytes(file.size);
  const owner = `${file.uid}:${file.gid}`;
  const time = new Date(file.mtimeMs).toISOString().slice(0, 16).replace("T", " ");
  const target = file.linkTarget === undefined ? "" : ` -> ${printable(file.linkTarget)}`;
  return `${letters[file.type]}${modeText(file.mode)}  ${owner.padEnd(11)}  ${size.padStart(8)}  ${time}  ${printable(readable(`/${file.path}`))}${target}`;
}

function modeText(mode: number): string {
  const bits = [..."rwxrwxrwx"].map((letter, at) => (mode & (0o400 >> at) ? letter : "-"));
  for (const [bit, at, letter] of [
    [0o4000, 2, "s"],
    [0o2000, 5, "s"],
    [0o1000, 8, "t"],
  ] as const)
    if (mode & bit) bits[at] = bits[at] === "x" ? letter : letter.toUpperCase();
  return bits.join("");
}

/** Names that are no UTF-8 come as their bytes, one character each, after a mark. */
function readable(name: string): string {
  return name.replaceAll("\udfff", "");
}

function showDifference({ same, config, layers, files }: ImageDifference): string {
  if (same) return "the images are the same\n";
  const value = (found: unknown) =>
    found === undefined ? "-" : printable(typeof found === "string" ? found : JSON.stringify(found));
  const marks = { added: "A", changed: "C", removed: "D" } as const;
  return [
    `layers: ${layers.shared} shared, ${layers.before.length} only in the first, ${layers.after.length} only in the second`,
    ...config.map(
      ({ field, before, after }) => `config ${printable(field)}: ${value(before)} -> ${value(after)}`,
    ),
    ...files.map(
      ({ kind, path, aspects }) =>
        `${marks[kind]} /${printable(readable(path))}${aspects ? `  (${aspects.join(", ")})` : ""}`,
    ),
    "",
  ].join("\n");
}
