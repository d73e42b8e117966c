import { OcidError } from "@ocid/base";
import { parse } from "yaml";
import type { Owners } from "./adjust/owners.ts";
import { Field } from "./gen/nri_pb.js";
import type { NriContainer, NriPod, ValidatorOptions } from "./types.ts";

/** Annotation with a YAML list of plugins that a pod or container cannot do without. */
const requiredAnnotation = "required-plugins.noderesource.dev";

/** Who has been asked about a container that is being made, and who has set what. */
export interface Consulted {
  readonly pod: NriPod;
  readonly container: NriContainer;
  readonly owners: Owners;
  readonly plugins: readonly { readonly index: string; readonly base: string }[];
}

/** Refuses, by FAILED_PRECONDITION, adjustments that the operator does not want, and containers without plugins that they need. */
export function validateByDefault(options: ValidatorOptions, consulted: Consulted): void {
  const { container, owners } = consulted;
  const setters = (field: Field) =>
    [...new Set(owners.of(container.id, field).values())].filter(owner => !owner.startsWith("-"));
  const refuse = (field: Field, what: string) => {
    const plugins = setters(field);
    if (plugins.length > 0)
      throw new OcidError(
        "FAILED_PRECONDITION",
        `${what} of containers may not be adjusted by plugins, but ${plugins.join(", ")} did`,
      );
  };
  if (options.rejectHooks) refuse(Field.OciHooks, "hooks");
  if (options.rejectNamespaces) refuse(Field.Namespace, "namespaces");
  if (options.rejectSysctls) refuse(Field.Sysctl, "sysctls");
  const profile = container.seccompProfile?.type ?? "unconfined";
  if (options.rejectSeccomp?.includes(profile))
    refuse(Field.SeccompPolicy, `seccomp policies that are ${profile}`);
  requirePlugins(options, consulted);
}

function requirePlugins(options: ValidatorOptions, { pod, container, plugins }: Consulted): void {
  const tolerated = options.tolerateMissingAnnotation
    ? annotationOf(pod, options.tolerateMissingAnnotation, container.name)
    : undefined;
  if (tolerated !== undefined && !["true", "false"].includes(tolerated))
    throw new OcidError(
      "INVALID_ARGUMENT",
      `annotation ${options.tolerateMissingAnnotation} should be true or false, found ${JSON.stringify(tolerated.slice(0, 50))}`,
    );
  if (tolerated === "true") return;
  const present = new Set(plugins.flatMap(({ index, base }) => [base, `${index}-${base}`]));
  const asked = annotationOf(pod, requiredAnnotation, container.name);
  const required = [...(options.requiredPlugins ?? []), ...(asked === undefined ? [] : listOf(asked))];
  const missing = required.filter(name => !present.has(name));
  if (missing.length > 0)
    throw new OcidError(
      "FAILED_PRECONDITION",
      `container ${container.name} needs plugins that are not there: ${missing.join(", ")}`,
    );
}

function listOf(text: string): readonly string[] {
  let value: unknown;
  try {
    value = parse(text, { maxAliasCount: 0 });
  } catch {
    value = undefined;
  }
  if (!Array.isArray(value) || !value.every(item => typeof item === "string"))
    throw new OcidError(
      "INVALID_ARGUMENT",
      `annotation ${requiredAnnotation} should be a list of plugins, found ${JSON.stringify(text.slice(0, 100))}`,
    );
  return value;
}

/** The container's own wins over the pod's. */
function annotationOf(pod: NriPod, name: string, container: string): string | undefined {
  return [`${name}/container.${container}`, `${name}/pod`, name]
    .map(key => pod.annotations[key])
    .find(value => value !== undefined);
}
