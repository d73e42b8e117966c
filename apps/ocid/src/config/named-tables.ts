import { parseWorkloadResources } from "@ocid/cri-server";
import type { NamedTable } from "./named-table.ts";

const runtimes = {
  meaning: "runtime handlers by name",
  required: "path",
  advice: 'a runtime needs path = "/path/of/the/runtime"',
  keys: {
    path: { type: "string", meaning: "the OCI runtime: a path, or a name to be found in PATH" },
    type: {
      type: "string",
      choices: ["oci", "gvisor"],
      meaning: "gvisor for runsc under another name; by default what the program's name says",
    },
    root: { type: "string", meaning: "its own state directory; by default below the daemon's" },
    annotations: {
      type: "strings",
      meaning: "annotations of pods and containers that it is told: names, or beginnings with *",
    },
    args: {
      type: "strings",
      meaning: "arguments before each of its commands, for example --platform=systrap",
    },
    conmon: {
      type: "string",
      meaning:
        "the monitor of its containers: a path, or a name to be found in PATH; by default runtime.conmon",
    },
  },
} as const satisfies NamedTable;

const workloads = {
  meaning: "kinds of pods that are pinned to processors, by name; the first that fits a pod counts",
  required: "activation_annotation",
  advice: 'a workload needs activation_annotation = "the annotation that its pods have"',
  keys: {
    activation_annotation: {
      type: "string",
      meaning: "pods that have this annotation, whatever its value, are of the workload",
    },
    annotation_prefix: {
      type: "string",
      meaning:
        "a pod's annotation PREFIX/CONTAINER says other resources for one container, in JSON; without it, none does",
    },
    resources: {
      type: "table",
      meaning: "what each container may use; what is missing, 0 or empty stays as the kubelet says",
      check: parseWorkloadResources,
      schema: {
        type: "object",
        additionalProperties: false,
        properties: {
          cpushares: { description: "CPU shares, 2 to 262144", type: "integer", minimum: 0, maximum: 262144 },
          cpuset: { description: "CPUs, such as 0-1,4", type: "string" },
          cpuquota: {
            description: "microseconds in each period; -1: no limit",
            type: "integer",
            minimum: -1,
          },
          cpuperiod: {
            description: "microseconds, 1000 to 1000000",
            type: "integer",
            minimum: 0,
            maximum: 1000000,
          },
          cpulimit: {
            description: "thousandths of a CPU; stands for cpuquota",
            type: "integer",
            minimum: 0,
          },
        },
      },
    },
  },
} as const satisfies NamedTable;

/** Tables of which there is one for each name, `[TABLE.NAME]`. All of them change as soon as the daemon reloads. */
export const namedTables = { runtimes, workloads } as const;

export type NamedTableName = keyof typeof namedTables;

export const namedTableNames = Object.keys(namedTables) as readonly NamedTableName[];
