import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { type ContainerAdjustment, ContainerAdjustmentSchema } from "../gen/nri_pb.js";
import { unmark } from "./removal.ts";

/** Adjustments of several plugins as one, for those who judge them; what a later one removes or sets anew is not shown twice. */
export function mergeAdjustments(all: readonly ContainerAdjustment[]): ContainerAdjustment {
  // Protobuf's own rule for one message after the other: lists are joined, maps and messages merged, the last value wins.
  const bytes = Buffer.concat(
    all.map(({ args: _, ...adjust }) => toBinary(ContainerAdjustmentSchema, { ...adjust, args: [] })),
  );
  const merged =
    all.length > 0 ? fromBinary(ContainerAdjustmentSchema, bytes) : create(ContainerAdjustmentSchema);
  const args = all.findLast(adjust => adjust.args.length > 0)?.args ?? [];
  merged.args = args[0] === "" ? args.slice(1) : [...args];
  merged.mounts = lastOfEach(merged.mounts, mount => mount.destination);
  merged.env = lastOfEach(merged.env, entry => entry.key);
  if (merged.linux) merged.linux.devices = lastOfEach(merged.linux.devices, device => device.path);
  return merged;
}

function lastOfEach<T>(entries: readonly T[], nameOf: (entry: T) => string): T[] {
  const keyOf = (entry: T) => unmark(nameOf(entry)).key;
  return entries.filter((entry, at) => entries.findLastIndex(other => keyOf(other) === keyOf(entry)) === at);
}
