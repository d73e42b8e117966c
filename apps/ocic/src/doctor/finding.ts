/** Something on the node that is not as it should be. */
export interface Finding {
  /** What kind of thing it is, for programs: `mount`, `namespace`, `cgroup`, `sysctl` … */
  readonly kind: string;
  /** `problem` makes `ocic doctor` end with its own exit code; `advice` is what some nodes can do without. */
  readonly severity: "problem" | "advice";
  /** What was found, with its path, id or value. */
  readonly what: string;
  /** Why it matters. */
  readonly why: string;
  /** What to do about it. */
  readonly remedy: string;
  /** Whether `--fix` does it. */
  readonly fixable: boolean;
}

/** A finding with the way to mend it, where that is safe. */
export interface Diagnosis extends Omit<Finding, "fixable"> {
  readonly fix?: () => void | Promise<void>;
}

export function findingOf({ fix, ...rest }: Diagnosis): Finding {
  return { ...rest, fixable: fix !== undefined };
}
