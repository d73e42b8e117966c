/** How long clients may take, and how often they are looked after; in milliseconds. */
export interface StreamTimes {
  readonly creationTimeoutMs: number;
  readonly probeMs: number;
}
