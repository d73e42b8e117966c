/** What the namespace worker is asked. `setUp` prepares namespaces that are pinned already. */
export type NamespaceCall =
  | {
      readonly kind: "create" | "setUp";
      readonly directory: string;
      readonly namespaces: readonly ("user" | "net" | "ipc" | "uts")[];
      readonly hostname: string | undefined;
      readonly sysctls: Readonly<Record<string, string>>;
      /** Who owns the namespaces: the uid on the machine of the user namespace's root. */
      readonly rootUid: number;
    }
  /** Family: 2 for IPv4, 10 for IPv6. */
  | { readonly kind: "socket"; readonly netnsPath: string; readonly family: 2 | 10 }
  | { readonly kind: "networkUsage"; readonly netnsPath: string };

export interface NamespaceReply {
  readonly fd?: number;
  readonly interfaces?: readonly NetworkInterfaceUsage[];
}

export interface NetworkInterfaceUsage {
  readonly name: string;
  readonly rxBytes: bigint;
  readonly rxPackets: bigint;
  readonly rxErrors: bigint;
  readonly rxDropped: bigint;
  readonly txBytes: bigint;
  readonly txPackets: bigint;
  readonly txErrors: bigint;
  readonly txDropped: bigint;
}

/** Parses /proc/net/dev (proc(5)); loopback is left out. */
export function parseNetworkUsage(text: string): readonly NetworkInterfaceUsage[] {
  return text
    .split("\n")
    .slice(2)
    .flatMap(line => {
      // The name of an alias has a colon of its own; the last one ends it.
      const at = line.lastIndexOf(":");
      const name = line.slice(0, Math.max(at, 0)).trim();
      const fields = line
        .slice(at + 1)
        .trim()
        .split(/\s+/);
      if (at === -1 || name === "lo" || fields.length < 12) return [];
      const number = (index: number) => BigInt(fields[index] ?? 0);
      return [
        {
          name,
          rxBytes: number(0),
          rxPackets: number(1),
          rxErrors: number(2),
          rxDropped: number(3),
          txBytes: number(8),
          txPackets: number(9),
          txErrors: number(10),
          txDropped: number(11),
        },
      ];
    });
}
