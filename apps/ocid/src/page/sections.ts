// What the page is told, part by part. Read by static/*.js too: types only, and nothing of Node.

/** Rows as far as they are sent, and how many there are. */
export interface Capped<T> {
  readonly rows: readonly T[];
  readonly total: number;
}

/** Times are milliseconds since the epoch, sizes bytes, rates per second. */
export interface NodeSection {
  readonly name: string;
  readonly version: string;
  readonly startedAt: number;
  /** Why no pod can be made: what is wrong with the runtime, with the network. */
  readonly problems: readonly string[];
}

export interface PodRow {
  readonly id: string;
  readonly name: string;
  readonly namespace: string;
  readonly state: string;
  readonly createdAt: number;
  readonly addresses: readonly string[];
  readonly handler: string;
  readonly running: number;
  readonly containers: number;
}

export interface ContainerRow {
  readonly id: string;
  readonly podId: string;
  readonly name: string;
  /** `namespace/name`. */
  readonly pod: string;
  readonly image: string;
  readonly state: string;
  readonly since: number | null;
  readonly exitCode: number | null;
  readonly oomKilled: boolean;
}

export interface ContainerUse {
  /** Of one processor; null before the second look, as are all rates. */
  readonly cpuPercent: number | null;
  readonly memoryBytes: number;
  readonly memoryLimit: number | null;
  readonly readRate: number | null;
  readonly writeRate: number | null;
}

export interface NetworkUse {
  readonly receiveRate: number | null;
  readonly sendRate: number | null;
}

/** By id of the container, and of the pod; `at` is when it was looked at. */
export interface UsageSection {
  readonly at: number;
  readonly containers: Readonly<Record<string, ContainerUse>>;
  readonly networks: Readonly<Record<string, NetworkUse>>;
}

export interface ImageRow {
  readonly id: string;
  readonly names: readonly string[];
  /** All its layers and data. */
  readonly bytes: number;
  /** What removing it would free. */
  readonly exclusiveBytes: number;
  readonly containers: number;
}

export interface StoreSection {
  /** Layers that images share are counted once. */
  readonly imageBytes: number;
  readonly containerBytes: number;
  /** Of the file system that the store lies on. */
  readonly diskBytes: number;
  readonly diskFree: number;
}

export interface PullRow {
  readonly image: string;
  readonly copiedBytes: number;
  readonly totalBytes: number;
}

export interface EventRow {
  readonly at: number;
  readonly problem: boolean;
  /** `container stopped`, `image pulled`, `CreateContainer failed`. */
  readonly what: string;
  readonly subject: string;
  readonly detail: string;
}

export interface DoctorSection {
  readonly checkedAt: number;
  /** Why nothing is known. */
  readonly failure: string | null;
  readonly findings: Capped<FindingRow>;
}

export interface FindingRow {
  readonly severity: string;
  readonly kind: string;
  readonly what: string;
  readonly why: string;
  readonly remedy: string;
}

export interface Sections {
  readonly node: NodeSection;
  readonly pods: Capped<PodRow>;
  readonly containers: Capped<ContainerRow>;
  readonly usage: UsageSection;
  readonly images: Capped<ImageRow>;
  readonly store: StoreSection;
  readonly pulls: Capped<PullRow>;
  readonly events: Capped<EventRow>;
  readonly doctor: DoctorSection;
}
