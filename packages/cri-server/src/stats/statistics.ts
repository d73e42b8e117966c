import type { ContainerStatsFilter, PodSandboxStatsFilter } from "@ocid/cri-api";
import { mapAhead } from "../ahead.ts";
import type { Container, Sandbox } from "../records.ts";
import type { ServerContext } from "../server-context.ts";
import {
  type ContainerLook,
  isRunning,
  lookAtContainer,
  looksAtOnce,
  unlessGone,
  wantedContainers,
} from "./container-stats.ts";
import { ListTimes, sharedMs } from "./list-times.ts";
import { RecentLooks } from "./recent-looks.ts";
import { Sampler } from "./sampler.ts";
import { lookAtPod, type PodLook, podStats, wantedPods } from "./sandbox-stats.ts";

/** Whoever lists no more than this gets looks of now. */
const few = 32;
const anew = Number.POSITIVE_INFINITY;

/** Statistics of containers and pods, each encoded as the CRI has it: ContainerStats, PodSandboxStats. */
export class Statistics implements Disposable {
  readonly #context: ServerContext;
  readonly #containers = new RecentLooks<Container, ContainerLook>();
  readonly #pods = new RecentLooks<Sandbox, PodLook>();
  readonly #containerSampler: Sampler<Container>;
  readonly #podSampler: Sampler<Sandbox>;
  readonly #containerLists: ListTimes;
  readonly #podLists: ListTimes;

  /** `periodMs`: how old a look may be that a list of many is answered from (docs/adr/0026); 0: as of a few. */
  constructor(context: ServerContext, periodMs: number) {
    this.#context = context;
    this.#containerLists = new ListTimes(periodMs);
    this.#podLists = new ListTimes(periodMs);
    this.#containerSampler = new Sampler({
      periodMs,
      atOnce: looksAtOnce,
      things: () => wantedContainers(context),
      lastAtMs: container => this.#containers.lastAtMs(container),
      look: container => this.#lookAt(container, anew),
      onSilence: () => this.#containers.forget(),
    });
    this.#podSampler = new Sampler({
      periodMs,
      atOnce: looksAtOnce,
      things: () => wantedPods(context),
      lastAtMs: sandbox => this.#pods.lastAtMs(sandbox),
      look: async sandbox => {
        const containers = await this.#looksIn(sandbox, performance.now() - periodMs);
        return await this.#lookAtPod(sandbox, anew, containers);
      },
      onSilence: () => this.#pods.forget(),
    });
  }

  /** Of now. */
  async container(container: Container): Promise<Uint8Array> {
    return (await this.#lookAt(container, anew)).stats;
  }

  /** Of now. */
  async pod(sandbox: Sandbox): Promise<Uint8Array> {
    return await this.#podStats(sandbox, anew, await this.#looksIn(sandbox, anew));
  }

  /** Of containers that run. */
  async *listContainers(
    filter: ContainerStatsFilter | undefined,
  ): AsyncGenerator<Uint8Array, void, undefined> {
    const wanted = wantedContainers(this.#context, filter);
    using list = this.#begin(wanted.length, this.#containerLists, this.#containerSampler);
    for await (const { look } of this.#looksAt(wanted, list.sinceMs)) if (look) yield look.stats;
  }

  /** Of pods that are ready. */
  async *listPods(filter: PodSandboxStatsFilter | undefined): AsyncGenerator<Uint8Array, void, undefined> {
    const wanted = wantedPods(this.#context, filter);
    const ids = new Set(wanted.map(({ id }) => id));
    const containers = wantedContainers(this.#context).filter(({ sandboxId }) => ids.has(sandboxId));
    const samplers = [this.#containerSampler, this.#podSampler];
    using list = this.#begin(wanted.length + containers.length, this.#podLists, ...samplers);
    const { sinceMs } = list;
    const looked = await Array.fromAsync(this.#looksAt(containers, sinceMs));
    const byPod = Map.groupBy(looked, ({ container }) => container.sandboxId);
    yield* mapAhead(wanted, looksAtOnce, sandbox =>
      this.#podStats(sandbox, sinceMs, looksOf(byPod.get(sandbox.id) ?? [])),
    );
  }

  [Symbol.dispose](): void {
    this.#containerSampler[Symbol.dispose]();
    this.#podSampler[Symbol.dispose]();
  }

  /** A list that needs so many looks: from when on they count, and until it has told them. */
  #begin(
    count: number,
    lists: ListTimes,
    ...samplers: readonly { asked(): void }[]
  ): Disposable & { readonly sinceMs: number } {
    if (count <= few) return { sinceMs: performance.now() - sharedMs, [Symbol.dispose]: () => {} };
    for (const sampler of samplers) sampler.asked();
    return { sinceMs: lists.begin(), [Symbol.dispose]: () => lists.end() };
  }

  #lookAt(container: Container, sinceMs: number): Promise<ContainerLook> {
    return this.#containers.at(container, sinceMs, () => lookAtContainer(this.#context, container));
  }

  /** In their order; without a look where a container is removed meanwhile. */
  async *#looksAt(
    containers: readonly Container[],
    sinceMs: number,
  ): AsyncGenerator<Looked, void, undefined> {
    const known = containers.map(container => this.#containers.known(container, sinceMs));
    const others = mapAhead(
      containers.filter((_, at) => !known[at]),
      looksAtOnce,
      container => unlessGone(this.#lookAt(container, sinceMs)),
    );
    for (const [at, container] of containers.entries())
      yield { container, look: known[at] ?? (await others.next()).value ?? undefined };
  }

  async #looksIn(sandbox: Sandbox, sinceMs: number): Promise<readonly ContainerLook[]> {
    const running = this.#context.records.containersOf(sandbox.id).filter(isRunning);
    return looksOf(await Array.fromAsync(this.#looksAt(running, sinceMs)));
  }

  #lookAtPod(sandbox: Sandbox, sinceMs: number, containers: readonly ContainerLook[]): Promise<PodLook> {
    return this.#pods.at(sandbox, sinceMs, () => lookAtPod(this.#context, sandbox, containers));
  }

  async #podStats(
    sandbox: Sandbox,
    sinceMs: number,
    containers: readonly ContainerLook[],
  ): Promise<Uint8Array> {
    return podStats(await this.#lookAtPod(sandbox, sinceMs, containers), containers);
  }
}

interface Looked {
  readonly container: Container;
  readonly look: ContainerLook | undefined;
}

function looksOf(looked: readonly Looked[]): readonly ContainerLook[] {
  return looked.map(({ look }) => look).filter(look => look !== undefined);
}
