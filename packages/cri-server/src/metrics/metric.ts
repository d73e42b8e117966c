import type { MessageInitShape } from "@bufbuild/protobuf";
import { type MetricDescriptorSchema, type MetricSchema, MetricType } from "@ocid/cri-api";

/** A value, and those of the metric's own labels in their order; undefined where the kernel does not say. */
export type Reading = readonly [value: bigint | undefined, ...labels: readonly string[]];

/** One metric: what it is called and how it is read, in one place so that descriptor and values cannot differ. */
export interface MetricDefinition<S> {
  readonly name: string;
  readonly help: string;
  readonly type: MetricType;
  /** Keys of labels beside those that every metric has. */
  readonly labels?: readonly string[];
  readonly read: (sample: S) => readonly Reading[];
}

/** Labels of every metric, named and filled as cAdvisor does, which dashboards are made for. */
export const commonLabels: readonly string[] = ["container", "id", "image", "name", "namespace", "pod"];

export function descriptorOf(
  metric: MetricDefinition<never>,
): MessageInitShape<typeof MetricDescriptorSchema> {
  return { name: metric.name, help: metric.help, labelKeys: [...commonLabels, ...(metric.labels ?? [])] };
}

/** `common`: values of the common labels, in their order. */
export function readMetrics<S>(
  metrics: readonly MetricDefinition<S>[],
  sample: S,
  common: readonly string[],
  timestamp: bigint,
): MessageInitShape<typeof MetricSchema>[] {
  return metrics.flatMap(metric =>
    metric
      .read(sample)
      .filter(([value]) => value !== undefined)
      .map(([value, ...labels]) => ({
        name: metric.name,
        timestamp,
        metricType: metric.type,
        labelValues: [...common, ...labels],
        value: { value: value! },
      })),
  );
}

type Value<S> = (sample: S) => bigint | undefined;

/** A metric with one value and no label of its own. */
export function counter<S>(name: string, help: string, value: Value<S>): MetricDefinition<S> {
  return { name, help, type: MetricType.COUNTER, read: sample => [[value(sample)]] };
}

export function gauge<S>(name: string, help: string, value: Value<S>): MetricDefinition<S> {
  return { name, help, type: MetricType.GAUGE, read: sample => [[value(sample)]] };
}

/** Whole seconds: the CRI has no fractions. */
export function seconds(nanoseconds: bigint | undefined): bigint | undefined {
  return nanoseconds === undefined ? undefined : nanoseconds / 1_000_000_000n;
}
