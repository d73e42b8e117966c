import { OcidError } from "@ocid/base";
import { ContainerConfigSchema, type Signal } from "@ocid/cri-api";

const field = ContainerConfigSchema.fields.find(candidate => candidate.localName === "stopSignal");
const values = field?.fieldKind === "enum" ? field.enum.values : [];

/** The CRI numbers signals in its own way; the names are the kernel's (`SIGRTMINPLUS3` is `SIGRTMIN+3`). */
export function signalName(signal: Signal): string {
  const name = values.find(value => value.number === signal)?.name;
  if (name === undefined) throw new OcidError("INVALID_ARGUMENT", `unknown stop signal ${signal}`);
  return name.replace(/PLUS(?=\d)/, "+").replace(/MINUS(?=\d)/, "-");
}

/** The CRI's number of a signal's name, with or without SIG; 0 where it has none. */
export function signalOf(name: string): Signal {
  const wanted = name
    .toUpperCase()
    .replace(/^(?!SIG)/, "SIG")
    .replace("+", "PLUS")
    .replace("-", "MINUS");
  return values.find(value => value.name === wanted)?.number ?? 0;
}
