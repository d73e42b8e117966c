import { codeOf, messageOf, type Operation, observeOperations } from "@ocid/base";
import type { NodeEvent, Overview } from "@ocid/cri-server";
import { short, shortId } from "./rows.ts";
import type { Capped, EventRow } from "./sections.ts";

const kept = 200;

/** Calls that change something; that one of them failed is worth knowing. */
const worthTelling =
  /^cri\.(RunPodSandbox|StopPodSandbox|RemovePodSandbox|CreateContainer|StartContainer|StopContainer|RemoveContainer|PullImage|RemoveImage)$/;

/** Exit codes of containers that have ended well, or as they were told to: SIGKILL, SIGTERM. */
const expected = new Set([0, 137, 143]);

/** The last things that have happened on the node since the daemon started, the newest first. */
export class EventLog implements Disposable {
  readonly #rows: EventRow[] = [];
  readonly #stack = new DisposableStack();

  constructor(overview: Pick<Overview, "follow">) {
    this.#stack.use(overview.follow(event => this.#note(event)));
    this.#stack.use(observeOperations({ end: (operation, error) => this.#noteCall(operation, error) }));
  }

  /** The same value until something happens. */
  rows(): Capped<EventRow> {
    return { rows: this.#rows.toReversed(), total: this.#rows.length };
  }

  [Symbol.dispose](): void {
    this.#stack.dispose();
  }

  #note({ at, what, container, pod, namespace, exitCode, oomKilled = false }: NodeEvent): void {
    // A pod is created and started at once.
    if (container === undefined && what === "created") return;
    this.#add({
      at: at.getTime(),
      problem: oomKilled || (exitCode !== undefined && !expected.has(exitCode)),
      what: `${container === undefined ? "pod" : "container"} ${what}`,
      subject: [namespace, pod, ...(container === undefined ? [] : [container])].join("/"),
      detail:
        exitCode === undefined
          ? ""
          : `exit code ${exitCode}${oomKilled ? ", killed for want of memory" : ""}`,
    });
  }

  #noteCall({ name, attributes }: Operation, error: unknown): void {
    if (!worthTelling.test(name) || (error === undefined && name !== "cri.PullImage")) return;
    const { image, container, sandbox } = attributes;
    this.#add({
      at: Date.now(),
      problem: error !== undefined,
      what: error === undefined ? "image pulled" : `${name.slice("cri.".length)} failed`,
      subject: image === undefined ? shortId(String(container ?? sandbox ?? "")) : String(image),
      detail: error === undefined ? "" : `${codeOf(error)}: ${messageOf(error)}`,
    });
  }

  #add(row: EventRow): void {
    this.#rows.push({ ...row, subject: short(row.subject), detail: short(row.detail) });
    if (this.#rows.length > kept) this.#rows.shift();
  }
}
