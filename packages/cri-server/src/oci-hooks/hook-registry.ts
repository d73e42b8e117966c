import { statSync } from "node:fs";
import { join } from "node:path";
import { OcidError } from "@ocid/base";
import type { RuntimeSpec } from "@ocid/spec";
import { namesIn, type ParsedFile, ParsedFiles } from "../parsed-files.ts";
import { type HookConditions, type HookDefinition, maxHookFileBytes, parseHookFile } from "./hook-file.ts";

const form = /\.json$/;

/** What the conditions of hooks are about. */
export interface HookSubject {
  /** The pod's and the container's. */
  readonly annotations: Readonly<Record<string, string>>;
  /** `process.args[0]`. */
  readonly command: string;
  /** Whether directories or files of the node were asked for as mounts. */
  readonly hasBindMounts: boolean;
}

/**
 * The node's hooks (oci-hooks(5)), from files `*.json` of some directories: a file of a later directory stands for the
 * one with the same name of an earlier one. Files are read again when they have changed.
 */
export class HookRegistry {
  readonly #directories: () => readonly string[];
  #files: ParsedFiles<HookDefinition> | undefined;

  constructor(directories: () => readonly string[]) {
    this.#directories = directories;
  }

  /** What is wrong with files, each with its path: no container is made while there is such a file. */
  async problems(): Promise<readonly string[]> {
    return problemsOf(await this.#effective());
  }

  /**
   * The hooks that a container is to have, by stage, after those that it has. FAILED_PRECONDITION while a file cannot be
   * used, because it may be the one that this container must not be without, and for a program that is not there.
   */
  async withHooks(hooks: RuntimeSpec["hooks"], subject: HookSubject): Promise<RuntimeSpec["hooks"]> {
    const files = await this.#effective();
    const problems = problemsOf(files);
    if (problems.length > 0)
      throw new OcidError(
        "FAILED_PRECONDITION",
        `no container is made while a hook's file cannot be used; mend or remove ${problems.join("; ")}`,
      );
    const wanted = files.filter(({ value }) => matches(value!.when, subject));
    if (wanted.length === 0) return hooks;
    const all: NonNullable<RuntimeSpec["hooks"]> = { ...hooks };
    for (const { path, value } of wanted) {
      const { hook, stages } = value!;
      if (!statSync(hook.path, { throwIfNoEntry: false }))
        throw new OcidError(
          "FAILED_PRECONDITION",
          `the program of a hook is not there: ${hook.path}; install it, or remove ${path}`,
        );
      for (const stage of stages) all[stage] = [...(all[stage] ?? []), hook];
    }
    return all;
  }

  /** By name, without regard to case, in the order of the characters' codes. */
  async #effective(): Promise<readonly ParsedFile<HookDefinition>[]> {
    const paths = new Map<string, string>();
    for (const directory of this.#directories())
      for (const name of namesIn(directory, form)) paths.set(name, join(directory, name));
    if (paths.size === 0) return [];
    this.#files ??= await openFiles();
    const files = this.#files;
    const order = ([a]: readonly [string, string], [b]: readonly [string, string]) =>
      compare(a.toLowerCase(), b.toLowerCase()) || compare(a, b);
    return [...paths].sort(order).map(([, path]) => files.read(path));
  }
}

async function openFiles(): Promise<ParsedFiles<HookDefinition>> {
  const { RE2JS } = await import("re2js");
  return new ParsedFiles(form, maxHookFileBytes, bytes => parseHookFile(bytes, text => RE2JS.compile(text)));
}

function problemsOf(files: readonly ParsedFile<HookDefinition>[]): readonly string[] {
  return files.flatMap(({ path, problem }) => (problem === undefined ? [] : [`${path}: ${problem}`]));
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function matches(when: HookConditions, { annotations, command, hasBindMounts }: HookSubject): boolean {
  const conditions = [
    ...(when.always === undefined ? [] : [when.always]),
    ...(when.hasBindMounts === undefined ? [] : [when.hasBindMounts && hasBindMounts]),
    ...when.annotations.map(wanted =>
      Object.entries(annotations).some(([name, value]) => wanted.name.test(name) && wanted.value.test(value)),
    ),
    ...(when.commands.length === 0 ? [] : [when.commands.some(pattern => pattern.test(command))]),
  ];
  return when.oneIsEnough ? conditions.includes(true) : conditions.length > 0 && !conditions.includes(false);
}
