import { isAbsolute } from "node:path";
import { OcidError } from "@ocid/base";
import type { RuntimeSpec } from "@ocid/spec";
import type { Hooks } from "../gen/nri_pb.js";
import { hookKinds } from "../hook-kinds.ts";
import { checkText } from "./check-text.ts";

type RuntimeHooks = NonNullable<RuntimeSpec["hooks"]>;

/** Hooks after those that are there. */
export function adjustHooks(old: RuntimeHooks, hooks: Hooks): RuntimeHooks {
  const result: RuntimeHooks = { ...old };
  for (const kind of hookKinds)
    if (hooks[kind].length > 0) result[kind] = [...(old[kind] ?? []), ...hooks[kind].map(hookOf)];
  return result;
}

function hookOf({ path, args, env, timeout }: Hooks["prestart"][number]): RuntimeHooks[string][number] {
  if (!isAbsolute(checkText("hook", path)))
    throw new OcidError("INVALID_ARGUMENT", `hook ${JSON.stringify(path)} should have an absolute path`);
  if (timeout && (timeout.value <= 0n || timeout.value > 86_400n))
    throw new OcidError("INVALID_ARGUMENT", `hook ${path} cannot have a timeout of ${timeout.value} s`);
  return {
    path,
    ...(args.length > 0 ? { args: args.map(arg => checkText("hook argument", arg)) } : {}),
    ...(env.length > 0 ? { env: env.map(entry => checkText("hook variable", entry)) } : {}),
    ...(timeout ? { timeout: Number(timeout.value) } : {}),
  };
}
