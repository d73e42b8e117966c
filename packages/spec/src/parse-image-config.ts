import { OcidError } from "@ocid/base";
import { omitUndefined } from "./descriptor.ts";
import { parseDiffId } from "./digest.ts";
import type { ImageConfig, ImageExecution, ImageHistory } from "./image-config.ts";
import { Fields, isObject, parseJsonObject } from "./parse-json.ts";
import { parsePlatformObject } from "./platform.ts";

/** Parses an image's config; fields that matter are checked, unknown ones ignored. INVALID_ARGUMENT names what is wrong. */
export function parseImageConfig(bytes: Uint8Array): ImageConfig {
  const document = parseJsonObject(bytes, "image config");
  const fields = new Fields(document, "image config");
  const rootfs = new Fields(fields.raw("rootfs"), "image config: rootfs");
  const execution = fields.raw("config");
  const history = fields.raw("history");
  return omitUndefined({
    ...parsePlatformObject(document, "image config"),
    created: fields.optionalString("created"),
    author: fields.optionalString("author"),
    config: execution === undefined || execution === null ? undefined : parseExecution(execution),
    rootfs: {
      type: rootfs.optionalString("type") ?? "layers",
      diff_ids: (rootfs.raw("diff_ids") === null ? [] : rootfs.list("diff_ids")).map(parseDiffId),
    },
    history: history === undefined || history === null ? undefined : fields.list("history").map(parseHistory),
  }) as ImageConfig;
}

function parseExecution(value: unknown): ImageExecution {
  const fields = new Fields(value, "image config: config");
  return omitUndefined({
    User: fields.optionalString("User"),
    ExposedPorts: keysOf(fields.raw("ExposedPorts"), "ExposedPorts"),
    Env: fields.strings("Env"),
    Entrypoint: fields.strings("Entrypoint"),
    Cmd: fields.strings("Cmd"),
    Volumes: keysOf(fields.raw("Volumes"), "Volumes"),
    WorkingDir: fields.optionalString("WorkingDir"),
    Labels: fields.stringMap("Labels"),
    StopSignal: fields.optionalString("StopSignal"),
  });
}

function keysOf(value: unknown, key: string): Readonly<Record<string, unknown>> | undefined {
  if (value === undefined || value === null) return undefined;
  if (!isObject(value))
    throw new OcidError("INVALID_ARGUMENT", `image config: config: ${key} should be an object`);
  return value;
}

function parseHistory(value: unknown): ImageHistory {
  const fields = new Fields(value, "image config: history");
  return omitUndefined({
    created: fields.optionalString("created"),
    created_by: fields.optionalString("created_by"),
    author: fields.optionalString("author"),
    comment: fields.optionalString("comment"),
    empty_layer: fields.raw("empty_layer") === true ? true : undefined,
  });
}
