import { create } from "@bufbuild/protobuf";
import { OcidError } from "@ocid/base";
import { Field, type OwningPlugins, OwningPluginsSchema } from "../gen/nri_pb.js";

/** Which plugin has set which field of which container in one request: two must not set the same. */
export class Owners {
  readonly #owners = new Map<string, Map<Field, Map<string, string>>>();

  /**
   * Notes that a plugin sets a field, or one entry of it. FAILED_PRECONDITION when another has, unless this one has
   * cleared it before.
   */
  claim(container: string, field: Field, plugin: string, entry = ""): void {
    const entries = this.#entries(container, field);
    const other = entries.get(entry);
    if (other !== undefined && other !== `-${plugin}`)
      throw new OcidError(
        "FAILED_PRECONDITION",
        `plugins ${JSON.stringify(plugin)} and ${JSON.stringify(other.replace(/^-/, ""))} both tried to set ${Field[field]}${entry === "" ? "" : ` ${JSON.stringify(entry.slice(0, 200))}`}`,
      );
    entries.set(entry, plugin);
  }

  clear(container: string, field: Field, plugin: string, entry = ""): void {
    this.#entries(container, field).set(entry, `-${plugin}`);
  }

  /** Notes a plugin as one of several. */
  join(container: string, field: Field, plugin: string): void {
    const entries = this.#entries(container, field);
    const others = entries.get("");
    entries.set("", others === undefined ? plugin : `${others},${plugin}`);
  }

  /** Plugins that have set the field, by entry. */
  of(container: string, field: Field): ReadonlyMap<string, string> {
    return this.#owners.get(container)?.get(field) ?? new Map();
  }

  message(): OwningPlugins {
    return create(OwningPluginsSchema, {
      owners: Object.fromEntries(
        [...this.#owners].map(([container, fields]) => {
          const all = [...fields];
          const simple = all.filter(([field]) => !compound.has(field));
          return [
            container,
            {
              simple: Object.fromEntries(simple.map(([field, entries]) => [field, entries.get("")!])),
              compound: Object.fromEntries(
                all
                  .filter(([field]) => compound.has(field))
                  .map(([field, entries]) => [field, { owners: Object.fromEntries(entries) }]),
              ),
            },
          ];
        }),
      ),
    });
  }

  #entries(container: string, field: Field): Map<string, string> {
    const fields = this.#owners.get(container) ?? new Map<Field, Map<string, string>>();
    const entries = fields.get(field) ?? new Map<string, string>();
    this.#owners.set(container, fields.set(field, entries));
    return entries;
  }
}

/** Fields of which each entry has an owner of its own. */
const compound: ReadonlySet<Field> = new Set([
  Field.Annotations,
  Field.Mounts,
  Field.Devices,
  Field.CdiDevices,
  Field.Env,
  Field.HugepageLimits,
  Field.CgroupsUnified,
  Field.Rlimits,
  Field.Namespace,
  Field.Sysctl,
  Field.LinuxNetDevices,
]);
