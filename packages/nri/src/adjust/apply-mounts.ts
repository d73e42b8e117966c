import { isAbsolute, normalize } from "node:path";
import { OcidError } from "@ocid/base";
import type { RuntimeMount, RuntimeSpec } from "@ocid/spec";
import type { Mount } from "../gen/nri_pb.js";
import { checkText } from "./check-text.ts";
import { adjustList, marked } from "./removal.ts";

/** A configuration with other mounts, shallow before deep. What spreads makes the root file system spread too. */
export function adjustMounts(spec: RuntimeSpec, mounts: readonly Mount[]): RuntimeSpec {
  const changes = marked(mounts, mount => mount.destination).map(({ key, value }) => ({
    key: destinationOf(key),
    value: value && mountOf(value, destinationOf(key)),
  }));
  const all = adjustList(spec.mounts, changes, mount => normalize(mount.destination));
  const depth = (mount: RuntimeMount) => normalize(mount.destination).split("/").length;
  const options = changes.flatMap(({ value }) => value?.options ?? []);
  const old = spec.linux.rootfsPropagation;
  const propagation = options.includes("rshared")
    ? "shared"
    : options.includes("rslave") && old !== "shared"
      ? "slave"
      : old;
  return {
    ...spec,
    mounts: [...all].sort((a, b) => depth(a) - depth(b)),
    linux: { ...spec.linux, ...(propagation ? { rootfsPropagation: propagation } : {}) },
  };
}

function destinationOf(path: string): string {
  const destination = normalize(checkText("mount", path)).replace(/(?<=.)\/$/, "");
  if (!isAbsolute(path) || destination === "/")
    throw new OcidError(
      "INVALID_ARGUMENT",
      `mount path ${JSON.stringify(path.slice(0, 200))} should be absolute and below /`,
    );
  return destination;
}

function mountOf({ type, source, options }: Mount, destination: string): RuntimeMount {
  for (const text of [type, source, ...options]) checkText(`mount at ${destination}`, text);
  const bound = type === "bind" || options.includes("bind") || options.includes("rbind");
  if (bound && !isAbsolute(source))
    throw new OcidError(
      "INVALID_ARGUMENT",
      `mount at ${destination}: its source ${JSON.stringify(source.slice(0, 200))} should be absolute`,
    );
  return { destination, ...(type === "" ? {} : { type }), source, options: [...options] };
}
