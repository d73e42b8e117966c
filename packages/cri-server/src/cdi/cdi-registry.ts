import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { messageOf, OcidError } from "@ocid/base";
import { parse } from "yaml";
import { type CdiEdits, type CdiSpec, parseCdiName, parseCdiSpec } from "./cdi-spec.ts";

const maxBytes = 4 * 1024 * 1024;

interface CachedFile {
  readonly mark: string;
  readonly spec: CdiSpec | undefined;
  /** Why the file cannot be used. */
  readonly problem: string | undefined;
}

/** The node's CDI devices, from files `*.json` and `*.yaml` of some directories; of two that have the same the later counts. */
export class CdiRegistry {
  readonly #directories: readonly string[];
  readonly #files = new Map<string, CachedFile>();

  constructor(directories: readonly string[]) {
    this.#directories = directories;
  }

  /**
   * What the named devices change in a container, in order, each file's common edits once. Files are read again when
   * they have changed. NOT_FOUND names a device that no file has, FAILED_PRECONDITION one that two files of a directory
   * have.
   */
  edits(names: readonly string[]): readonly CdiEdits[] {
    if (names.length === 0) return [];
    const files = this.#directories.map(directory => this.#read(directory));
    const used = new Set<CdiSpec>();
    return [...new Set(names)].flatMap(name => {
      const { kind, device } = parseCdiName(name);
      const spec = find(files, name, kind, device);
      const common = used.has(spec) ? [] : [spec.edits];
      used.add(spec);
      return [...common, spec.devices.get(device)!];
    });
  }

  #read(directory: string): readonly (readonly [string, CachedFile])[] {
    let names: readonly string[];
    try {
      names = readdirSync(directory).sort();
    } catch {
      return [];
    }
    return names
      .filter(name => /\.(json|yaml)$/.test(name))
      .map(name => join(directory, name))
      .map(path => [path, this.#load(path)] as const);
  }

  #load(path: string): CachedFile {
    const cached = this.#files.get(path);
    let file: CachedFile;
    try {
      const { mtimeNs, ctimeNs, size, ino } = statSync(path, { bigint: true });
      const mark = [mtimeNs, ctimeNs, size, ino].join(" ");
      if (cached?.mark === mark) return cached;
      file = { mark, ...readSpec(path, size) };
    } catch (error) {
      file = { mark: "", spec: undefined, problem: messageOf(error) };
    }
    this.#files.set(path, file);
    return file;
  }
}

function readSpec(path: string, size: bigint): Omit<CachedFile, "mark"> {
  try {
    if (size > maxBytes) throw new OcidError("RESOURCE_EXHAUSTED", `it has more than ${maxBytes} bytes`);
    const text = readFileSync(path, "utf8");
    // JSON is YAML too; aliases could blow up a small file.
    return { spec: parseCdiSpec(parse(text, { maxAliasCount: 100 })), problem: undefined };
  } catch (error) {
    return { spec: undefined, problem: messageOf(error) };
  }
}

function find(
  directories: readonly (readonly (readonly [string, CachedFile])[])[],
  name: string,
  kind: string,
  device: string,
): CdiSpec {
  for (const files of [...directories].reverse()) {
    const having = files.filter(([, { spec }]) => spec?.kind === kind && spec.devices.has(device));
    if (having.length > 1)
      throw new OcidError(
        "FAILED_PRECONDITION",
        `CDI device ${name} is in several files: ${having.map(([path]) => path).join(", ")}; leave one`,
      );
    const spec = having[0]?.[1].spec;
    if (spec) return spec;
  }
  const problems = directories
    .flat()
    .flatMap(([path, { problem }]) => (problem ? [`${path}: ${problem}`] : []));
  throw new OcidError(
    "NOT_FOUND",
    `CDI device ${name} is not on this node${problems.length > 0 ? ` (files that cannot be used: ${problems.join("; ")})` : ""}`,
  );
}
