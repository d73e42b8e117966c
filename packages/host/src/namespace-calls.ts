/** What the namespace worker is asked. `setUp` prepares namespaces that are pinned already. */
export type NamespaceCall =
  | {
      readonly kind: "create" | "setUp";
      readonly directory: string;
      readonly namespaces: readonly ("user" | "net" | "ipc" | "uts")[];
      readonly hostname: string | undefined;
      readonly sysctls: Readonly<Record<string, string>>;
    }
  /** Family: 2 for IPv4, 10 for IPv6. */
  | { readonly kind: "socket"; readonly netnsPath: string; readonly family: 2 | 10 }
  | { readonly kind: "networkUsage"; readonly netnsPath: string };

export interface NamespaceReply {
  readonly id: number;
  readonly error?: unknown;
  readonly fd?: number;
  readonly interfaces?: readonly NetworkInterfaceUsage[];
}

export interface NetworkInterfaceUsage {
  readonly name: string;
  readonly rxBytes: bigint;
  readonly rxErrors: bigint;
  readonly txBytes: bigint;
  readonly txErrors: bigint;
}

/** Parses /proc/net/dev (proc(5)); loopback is left out. */
export function parseNetworkUsage(text: string): readonly NetworkInterfaceUsage[] {
  return text
    .split("\n")
    .slice(2)
    .flatMap(line => {
      const [name, rest] = line.split(":");
      const fields = rest?.trim().split(/\s+/).map(BigInt);
      if (name === undefined || fields === undefined || fields.length < 11 || name.trim() === "lo") return [];
      return [
        {
          name: name.trim(),
          rxBytes: fields[0]!,
          rxErrors: fields[2]!,
          txBytes: fields[8]!,
          txErrors: fields[10]!,
        },
      ];
    });
}
