import { OcidError } from "@ocid/base";
import { Fields, parseJsonObject, type RuntimeSpec } from "@ocid/spec";

// oci-hooks(5), schemas 1.0.0 and 0.1.0.

export const maxHookFileBytes: number = 256 * 1024;

/** A regular expression that is searched for in a text; one of RE2's, which takes time in proportion to the text. */
export interface Pattern {
  test(text: string): boolean;
}

/** Makes a pattern of its text; throws when it is none. */
export type CompilePattern = (text: string) => Pattern;

/** When a hook is wanted. */
export interface HookConditions {
  readonly always: boolean | undefined;
  readonly hasBindMounts: boolean | undefined;
  /** Of each pair, one annotation's name and value match both. */
  readonly annotations: readonly { readonly name: Pattern; readonly value: Pattern }[];
  /** Of which one matches the program, `process.args[0]`. */
  readonly commands: readonly Pattern[];
  /** Whether one of the conditions is enough (schema 0.1.0), rather than all of them. */
  readonly oneIsEnough: boolean;
}

export interface HookDefinition {
  readonly hook: NonNullable<RuntimeSpec["hooks"]>[string][number];
  readonly stages: readonly string[];
  readonly when: HookConditions;
}

const stages = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

/** Reads a hook's definition; INVALID_ARGUMENT names the field that is not what it should be. */
export function parseHookFile(bytes: Uint8Array, compile: CompilePattern): HookDefinition {
  const file = parseJsonObject(bytes, "the hook's definition", maxHookFileBytes);
  const version = file["version"] ?? "0.1.0";
  if (version === "1.0.0") return parseCurrent(file, compile);
  if (version === "0.1.0") return parseOld(file, compile);
  throw invalid(`version should be "1.0.0", found ${show(version)}`);
}

function parseCurrent(file: Record<string, unknown>, compile: CompilePattern): HookDefinition {
  const hook = fieldsOf(file["hook"], "hook", ["path", "args", "env", "timeout"]);
  const when = fieldsOf(file["when"], "when", ["always", "annotations", "commands", "hasBindMounts"]);
  const [args, env] = [hook.strings("args"), hook.strings("env")];
  const timeout = hook.raw("timeout");
  if (timeout !== undefined && !(Number.isInteger(timeout) && (timeout as number) > 0))
    throw invalid(`hook.timeout should be a number of seconds from 1 on, found ${show(timeout)}`);
  return {
    hook: {
      path: absolute(hook.raw("path"), "hook.path"),
      ...(args ? { args: [...args] } : {}),
      ...(env ? { env: [...env] } : {}),
      ...(timeout === undefined ? {} : { timeout: timeout as number }),
    },
    stages: parseStages(file["stages"], "stages"),
    when: {
      always: boolean(when, "always", "when.always"),
      hasBindMounts: boolean(when, "hasBindMounts", "when.hasBindMounts"),
      annotations: Object.entries(when.stringMap("annotations") ?? {}).map(([name, value]) => ({
        name: pattern(name, "when.annotations", compile),
        value: pattern(value, `when.annotations ${JSON.stringify(name)}`, compile),
      })),
      commands: (when.strings("commands") ?? []).map(text => pattern(text, "when.commands", compile)),
      oneIsEnough: false,
    },
  };
}

function parseOld(file: Record<string, unknown>, compile: CompilePattern): HookDefinition {
  const fields = new Fields(file, "the hook's definition");
  const either = (long: string, short: string) => {
    if (file[long] !== undefined && file[short] !== undefined)
      throw invalid(`${long} and ${short} are the same; leave one`);
    return file[long] === undefined ? short : long;
  };
  const path = absolute(file["hook"], "hook");
  const args = fields.strings("arguments");
  const stagesKey = either("stages", "stage");
  const values = fields.strings(either("annotations", "annotation")) ?? [];
  return {
    hook: { path, ...(args ? { args: [path, ...args] } : {}) },
    stages: parseStages(file[stagesKey], stagesKey),
    when: {
      always: undefined,
      hasBindMounts: boolean(fields, "hasbindmounts", "hasbindmounts"),
      annotations: values.map(text => ({
        name: compile(""),
        value: pattern(text, "annotations", compile),
      })),
      commands: (fields.strings(either("cmds", "cmd")) ?? []).map(text => pattern(text, "cmds", compile)),
      oneIsEnough: true,
    },
  };
}

/** Names that are misspelt would be conditions and settings that nobody heeds. */
function fieldsOf(value: unknown, what: string, known: readonly string[]): Fields {
  const fields = new Fields(value, what);
  const unknown = Object.keys(value as object).find(key => !known.includes(key));
  if (unknown === undefined) return fields;
  throw invalid(`${what} has ${show(unknown)}, which is not known (${known.join(", ")})`);
}

function parseStages(value: unknown, what: string): readonly string[] {
  if (!Array.isArray(value)) throw invalid(`${what} should be a list, found ${show(value)}`);
  const unknown = value.findIndex(stage => !stages.includes(stage as string));
  if (unknown === -1) return value as readonly string[];
  throw invalid(`${what} should be of ${stages.join(", ")}, found ${show(value[unknown])}`);
}

function boolean(fields: Fields, key: string, what: string): boolean | undefined {
  const value = fields.raw(key);
  if (value === undefined || typeof value === "boolean") return value;
  throw invalid(`${what} should be true or false, found ${show(value)}`);
}

function pattern(text: string, what: string, compile: CompilePattern): Pattern {
  try {
    return compile(text);
  } catch (error) {
    const why = (error as Error).message.replace("error parsing regexp: ", "");
    throw invalid(`${what}: ${show(text)} is no regular expression: ${why}`);
  }
}

function absolute(value: unknown, what: string): string {
  if (typeof value === "string" && value.startsWith("/") && !value.includes("\0")) return value;
  throw invalid(`${what} should be an absolute path, found ${show(value)}`);
}

function show(value: unknown): string {
  return JSON.stringify(value)?.slice(0, 100) ?? "nothing";
}

function invalid(what: string): OcidError {
  return new OcidError("INVALID_ARGUMENT", what);
}
