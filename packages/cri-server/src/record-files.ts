import { readFileSync } from "node:fs";
import { isAbsolute } from "node:path";
import { fromJson, type JsonValue, toJson } from "@bufbuild/protobuf";
import { OcidError, wrapError } from "@ocid/base";
import { ContainerConfigSchema, PodSandboxConfigSchema } from "@ocid/cri-api";
import type { Container, Sandbox } from "./records.ts";

/** Of what is written; what a newer program has written in another way is not guessed at. */
const formatVersion = 1;
const maxRecordBytes = 32 * 1024 * 1024;

/** What a directory of ours is called after. */
export function isId(text: unknown): text is string {
  return typeof text === "string" && /^[0-9a-f]{64}$/.test(text);
}

export function sandboxJson({ config, unanswered: _, stopping: __, ...rest }: Sandbox): string {
  return serialise({ version: formatVersion, ...rest, config: toJson(PodSandboxConfigSchema, config) });
}

export function containerJson({
  config,
  unanswered: _,
  state: __,
  endTold: ___,
  ...rest
}: Container): string {
  return serialise({ version: formatVersion, ...rest, config: toJson(ContainerConfigSchema, config) });
}

/** Reads a sandbox's record. DATA_LOSS names the file and what is wrong with it. */
export function readSandbox(path: string, id: string): Sandbox {
  return readRecord(path, id, record => {
    const { namespaces = {}, pauseId } = record;
    check(["creating", "ready", "stopped"].includes(record["phase"] as string), "phase");
    check(text(record["handler"]), "handler");
    check(text(record["cgroupParent"]) && !record["cgroupParent"].split("/").includes(".."), "cgroupParent");
    check(typeof record["ownsCgroup"] === "boolean", "ownsCgroup");
    check(typeof record["hostNetwork"] === "boolean", "hostNetwork");
    check(isObject(namespaces) && Object.values(namespaces).every(absolute), "namespaces");
    check(Array.isArray(record["ips"]) && record["ips"].every(text), "ips");
    check(pauseId === undefined || isId(pauseId), "pauseId");
    check(text(record["bootId"]), "bootId");
    const config = fromJson(PodSandboxConfigSchema, record["config"] as JsonValue, lenient);
    check(config.metadata !== undefined, "config.metadata");
    return {
      ...(record as unknown as Sandbox),
      config,
      createdAtNs: nanoseconds(record, "createdAtNs"),
      unanswered: true,
      stopping: false,
    };
  });
}

/** As `readSandbox`, of a container. */
export function readContainer(path: string, id: string): Container {
  return readRecord(path, id, record => {
    const { user, end, logPath, restored } = record;
    check(isId(record["sandboxId"]), "sandboxId");
    check(["creating", "created"].includes(record["phase"] as string), "phase");
    check(text(record["imageId"]), "imageId");
    check(text(record["imageRef"]), "imageRef");
    check(text(record["stopSignal"]), "stopSignal");
    check(logPath === undefined || absolute(logPath), "logPath");
    check(isObject(user) && Array.isArray(user["groups"]) && user["groups"].every(Number.isInteger), "user");
    check(Number.isInteger(user["uid"]) && Number.isInteger(user["gid"]), "user");
    check(end === undefined || (isObject(end) && Number.isInteger(end["exitCode"])), "end");
    check(restored === undefined || (isObject(restored) && text(restored["checkpointedAt"])), "restored");
    const config = fromJson(ContainerConfigSchema, record["config"] as JsonValue, lenient);
    check(config.metadata !== undefined && config.image !== undefined, "config.metadata or config.image");
    return {
      ...(record as unknown as Container),
      config,
      createdAtNs: nanoseconds(record, "createdAtNs"),
      startedAtNs: nanoseconds(record, "startedAtNs"),
      ...(end === undefined
        ? {}
        : {
            end: {
              exitCode: end["exitCode"] as number,
              finishedAtNs: nanoseconds(end, "finishedAtNs"),
              oomKilled: end["oomKilled"] === true,
            },
          }),
      state: { status: "unknown" },
      endTold: false,
      unanswered: true,
    };
  });
}

/** A newer program may have written fields of a newer CRI; what they asked for has been done. */
const lenient = { ignoreUnknownFields: true };

function readRecord<T>(path: string, id: string, parse: (record: Record<string, unknown>) => T): T {
  try {
    const record: unknown = JSON.parse(readSmall(path));
    if (!isObject(record)) throw new Error("it is no JSON object");
    const { version = formatVersion, ...fields } = record;
    if (version !== formatVersion)
      throw new Error(
        `it is of version ${JSON.stringify(version)?.slice(0, 40)}; this program reads version ${formatVersion}`,
      );
    if (record["id"] !== id)
      throw new Error(`it is of ${JSON.stringify(record["id"])?.slice(0, 100)}, not of its directory`);
    check(text(record["name"]) && record["name"] !== "", "name");
    return parse(fields);
  } catch (error) {
    throw new OcidError("DATA_LOSS", wrapError(`read ${path}`, error).message, { cause: error });
  }
}

function readSmall(path: string): string {
  const bytes = readFileSync(path);
  if (bytes.byteLength > maxRecordBytes) throw new Error(`it has ${bytes.byteLength} bytes, too many`);
  return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
}

function check(holds: boolean, field: string): asserts holds {
  if (!holds) throw new Error(`its ${field} is missing or no such thing`);
}

function text(value: unknown): value is string {
  return typeof value === "string" && !value.includes("\0");
}

function absolute(value: unknown): boolean {
  return text(value) && isAbsolute(value);
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function nanoseconds(record: Record<string, unknown>, field: string): bigint {
  const value = record[field];
  check(typeof value === "string" && /^\d{1,20}$/.test(value), field);
  return BigInt(value);
}

function serialise(value: object): string {
  return JSON.stringify(value, (_, item) => (typeof item === "bigint" ? item.toString() : item));
}
