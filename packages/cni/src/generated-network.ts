import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { isIP } from "node:net";
import { join } from "node:path";
import { isOcidError, messageOf, OcidError, wrapError, writeAtomic } from "@ocid/base";
import { fillTemplate } from "./go-template.ts";
import { loadNetwork, parseNetwork } from "./network-list.ts";

/** The file that is made of the template; every other one in the directory is an operator's. */
export const generatedFile = "10-ocid-net.conflist";

const maxTemplateBytes = 1024 * 1024;

/** What became of a request to configure the network. */
export type Generated = "written" | "unchanged" | "configured by an operator";

/**
 * Makes the network's configuration of a template and the pods' address ranges, unless an operator has put a valid one
 * there. The file appears whole or not at all. INVALID_ARGUMENT for ranges that are none, and for a template that does
 * not give a valid configuration.
 */
export async function generateNetwork(
  configDir: string,
  template: string,
  podCidrs: readonly string[],
): Promise<Generated> {
  const file = join(configDir, generatedFile);
  if ((currentFile(configDir) ?? file) !== file) return "configured by an operator";
  const text = fill(template, podCidrs);
  try {
    parseNetwork(JSON.parse(text), file);
  } catch (error) {
    throw new OcidError(
      "INVALID_ARGUMENT",
      `the template ${template} gives no valid network configuration: ${messageOf(error)}`,
      { cause: error },
    );
  }
  if (existsSync(file) && readFileSync(file, "utf8") === text) return "unchanged";
  mkdirSync(configDir, { recursive: true, mode: 0o755 });
  await writeAtomic(file, text, 0o644);
  return "written";
}

/** `10.0.0.0/16`, or two of them, IPv4 and IPv6, with a comma in between. */
export function parsePodCidrs(text: string): readonly string[] {
  const cidrs = text.split(",").map(cidr => cidr.trim());
  for (const cidr of cidrs) {
    const [address = "", prefix = "", ...more] = cidr.split("/");
    const bits = isIP(address) === 6 ? 128 : 32;
    if (isIP(address) === 0 || more.length > 0 || !/^\d{1,3}$/.test(prefix) || Number(prefix) > bits)
      throw new OcidError(
        "INVALID_ARGUMENT",
        `not an address range of pods: ${JSON.stringify(cidr.slice(0, 100))}`,
      );
  }
  return cidrs;
}

function fill(template: string, podCidrs: readonly string[]): string {
  try {
    const text = readFileSync(template);
    if (text.byteLength > maxTemplateBytes)
      throw new OcidError("RESOURCE_EXHAUSTED", `it has more than ${maxTemplateBytes} bytes`);
    const families = podCidrs.map(cidr => isIP(cidr.split("/")[0]!));
    return fillTemplate(text.toString(), {
      PodCIDR: podCidrs[0] ?? "",
      PodCIDRRanges: podCidrs,
      Routes: [...(families.includes(4) ? ["0.0.0.0/0"] : []), ...(families.includes(6) ? ["::/0"] : [])],
    });
  } catch (error) {
    throw wrapError(`network template ${template}`, error, "FAILED_PRECONDITION");
  }
}

/** The file of the network that counts now. */
function currentFile(configDir: string): string | undefined {
  try {
    return loadNetwork(configDir).file;
  } catch (error) {
    if (isOcidError(error, "UNAVAILABLE")) return undefined;
    throw error;
  }
}
