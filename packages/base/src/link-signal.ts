/**
 * An AbortController that follows long-lived signals and lets go of them when it is disposed of. `AbortSignal.any`
 * would keep a listener on each for as long as they live.
 */
export function linkSignal(
  ...parents: readonly (AbortSignal | undefined)[]
): Disposable & { readonly signal: AbortSignal; abort(reason?: unknown): void } {
  const controller = new AbortController();
  const unlink: (() => void)[] = [];
  for (const parent of parents) {
    if (!parent) continue;
    if (parent.aborted) {
      controller.abort(parent.reason);
      break;
    }
    const follow = () => controller.abort(parent.reason);
    parent.addEventListener("abort", follow, { once: true });
    unlink.push(() => parent.removeEventListener("abort", follow));
  }
  return {
    signal: controller.signal,
    abort: reason => controller.abort(reason),
    [Symbol.dispose]: () => {
      for (const undo of unlink) undo();
    },
  };
}
