import { OcidError } from "@ocid/base";
import { parse } from "yaml";
import { type ParsedFile, ParsedFiles } from "../parsed-files.ts";
import { type CdiEdits, type CdiSpec, parseCdiName, parseCdiSpec } from "./cdi-spec.ts";

const maxBytes = 4 * 1024 * 1024;

/** The node's CDI devices, from files `*.json` and `*.yaml` of some directories; of two that have the same the later counts. */
export class CdiRegistry {
  readonly #directories: readonly string[];
  // JSON is YAML too; aliases could blow up a small file.
  readonly #files = new ParsedFiles(/\.(json|yaml)$/, maxBytes, bytes =>
    parseCdiSpec(parse(bytes.toString("utf8"), { maxAliasCount: 100 })),
  );

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
    const files = this.#directories.map(directory => this.#files.readAll(directory));
    const used = new Set<CdiSpec>();
    return [...new Set(names)].flatMap(name => {
      const { kind, device } = parseCdiName(name);
      const spec = find(files, name, kind, device);
      const common = used.has(spec) ? [] : [spec.edits];
      used.add(spec);
      return [...common, spec.devices.get(device)!];
    });
  }
}

function find(
  directories: readonly (readonly ParsedFile<CdiSpec>[])[],
  name: string,
  kind: string,
  device: string,
): CdiSpec {
  for (const files of [...directories].reverse()) {
    const having = files.filter(({ value }) => value?.kind === kind && value.devices.has(device));
    if (having.length > 1)
      throw new OcidError(
        "FAILED_PRECONDITION",
        `CDI device ${name} is in several files: ${having.map(({ path }) => path).join(", ")}; leave one`,
      );
    const spec = having[0]?.value;
    if (spec) return spec;
  }
  const problems = directories
    .flat()
    .flatMap(({ path, problem }) => (problem ? [`${path}: ${problem}`] : []));
  throw new OcidError(
    "NOT_FOUND",
    `CDI device ${name} is not on this node${problems.length > 0 ? ` (files that cannot be used: ${problems.join("; ")})` : ""}`,
  );
}
