import type { ContainerOverview, PodOverview } from "@ocid/cri-server";
import type { ImageDiskUsage } from "@ocid/storage";
import type { PullUnderWay } from "../pull-hub.ts";
import type { Capped, ContainerRow, FindingRow, ImageRow, PodRow, PullRow } from "./sections.ts";

/** Far more than a node has: the kubelet runs 110 pods by default. */
const maxRows = 1000;
const maxText = 300;

/** A text from outside as far as it is sent. */
export function short(text: string): string {
  return text.length > maxText ? `${text.slice(0, maxText - 1)}…` : text;
}

/** The first 12 characters, which is what people compare; enough to tell rows apart. */
export function shortId(id: string): string {
  return id.replace(/^sha256:/, "").slice(0, 12);
}

export function capped<T, R>(all: readonly T[], row: (item: T) => R): Capped<R> {
  return { rows: all.slice(0, maxRows).map(row), total: all.length };
}

export function podRows(
  pods: readonly PodOverview[],
  containers: readonly ContainerOverview[],
): Capped<PodRow> {
  const byPod = Map.groupBy(containers, ({ podId }) => podId);
  return capped(pods, ({ id, name, namespace, phase, createdAt, ips, handler }) => {
    const own = byPod.get(id) ?? [];
    return {
      id: shortId(id),
      name: short(name),
      namespace: short(namespace),
      state: phase,
      createdAt: createdAt.getTime(),
      addresses: ips,
      handler: short(handler),
      running: own.filter(({ state }) => state === "running").length,
      containers: own.length,
    };
  });
}

export function containerRows(
  pods: readonly PodOverview[],
  containers: readonly ContainerOverview[],
): Capped<ContainerRow> {
  const names = new Map(pods.map(pod => [pod.id, `${pod.namespace}/${pod.name}`]));
  return capped(containers, container => ({
    id: shortId(container.id),
    podId: shortId(container.podId),
    name: short(container.name),
    pod: short(names.get(container.podId) ?? ""),
    image: short(container.image),
    state: container.state,
    since: container.since?.getTime() ?? null,
    exitCode: container.exitCode ?? null,
    oomKilled: container.oomKilled ?? false,
  }));
}

export function imageRows(images: readonly ImageDiskUsage[]): Capped<ImageRow> {
  return capped(images, ({ image, bytes, freeableBytes, containerIds }) => ({
    id: shortId(image.id),
    names: image.names.slice(0, 8).map(short),
    bytes,
    exclusiveBytes: freeableBytes,
    containers: containerIds.length,
  }));
}

export function pullRows(pulls: readonly PullUnderWay[]): Capped<PullRow> {
  return capped(pulls, pull => ({ ...pull, image: short(pull.image) }));
}

/** Of what `ocic doctor --json` prints; what is no text there is none here. */
export function findingRows(findings: readonly unknown[]): Capped<FindingRow> {
  return capped(findings, finding => {
    const fields = (finding ?? {}) as Readonly<Record<string, unknown>>;
    const text = (key: keyof FindingRow) => short(typeof fields[key] === "string" ? fields[key] : "");
    return {
      severity: text("severity"),
      kind: text("kind"),
      what: text("what"),
      why: text("why"),
      remedy: text("remedy"),
    };
  });
}
