import { createReadStream, mkdirSync } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { dirname, join } from "node:path";
import { OcidError, wrapError } from "@ocid/base";
import { type ReadTarEntry, readTar } from "@ocid/layer";

export interface UnpackOptions {
  /** Most bytes of all files, holes included, and of the archive. */
  readonly maxBytes: number;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Writes the plain files of an uncompressed tar archive into an empty directory, each once, for their owner alone. Nothing
 * that could lead elsewhere is made: links, devices and names that climb are refused with INVALID_ARGUMENT.
 */
export async function unpackFiles(
  file: string,
  directory: string,
  { maxBytes, signal }: UnpackOptions,
): Promise<void> {
  const content = createReadStream(file, { highWaterMark: 1024 * 1024, signal });
  let target: FileHandle | undefined;
  let left = maxBytes;
  try {
    for await (const piece of readTar(content, { wants: () => true, maxBytes, maxEntries: 200_000 })) {
      if (piece.kind === "entry") target = await begin(directory, piece.entry);
      else if (piece.kind === "content") {
        left -= piece.bytes.byteLength;
        if (left < 0) throw new OcidError("RESOURCE_EXHAUSTED", `its files have more than ${maxBytes} bytes`);
        await target?.writeFile(piece.bytes);
      } else {
        await target?.close();
        target = undefined;
      }
    }
  } catch (error) {
    throw wrapError(`unpack ${file}`, error);
  } finally {
    await target?.close();
    content.destroy();
  }
}

async function begin(directory: string, { type, path }: ReadTarEntry): Promise<FileHandle | undefined> {
  // Directories come with the files in them.
  if (type === "directory") return undefined;
  if (type !== "file" || path === "" || path.startsWith("\udfff"))
    throw new OcidError(
      "INVALID_ARGUMENT",
      `${JSON.stringify(path.slice(0, 200))} is a ${type}, and only plain files are expected`,
    );
  const target = join(directory, path);
  mkdirSync(dirname(target), { recursive: true, mode: 0o700 });
  return await open(target, "wx", 0o600);
}
