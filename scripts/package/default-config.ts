import { defaultConfig } from "../../apps/ocid/src/config/config-schema.ts";
import { printConfig } from "../../apps/ocid/src/config/print-config.ts";

/** The configuration file that is installed: every setting with its meaning and its default, switched off. */
export function commentedConfig(): string {
  const lines = printConfig({ config: defaultConfig, origins: new Map() }).split("\n");
  // Tables stay, so that whoever switches a setting on has it in its place; one of a runtime would need its path.
  const stays = /^($|#|\[(?!runtimes\.))/;
  const off = lines.map(line => (stays.test(line) ? line : `#${line}`));
  return `# Configuration of ocid: see ocid.conf(5). What is switched off here has its default.\n\n${off.join("\n")}`;
}
