import type { CopyProgress, OnProgress } from "@ocid/image-copy";
import { ProgressDisplay, type TransferState } from "../output/progress.ts";

/** Shows a copy's progress; call `end` when it is over. */
export function showingProgress(json: boolean): { readonly onProgress: OnProgress; end(): void } {
  const display = new ProgressDisplay(json);
  const layers = new Map<string, TransferState["layers"][number]>();
  let told = 0;
  return {
    onProgress(event: CopyProgress) {
      const { digest, size } = event.descriptor;
      layers.set(digest, { digest, size, bytes: event.bytes, state: event.kind });
      const now = Date.now();
      if (event.kind === "bytes" && now - told < 80) return;
      told = now;
      display.show({
        copiedBytes: event.copiedBytes,
        totalBytes: event.totalBytes,
        layers: [...layers.values()],
      });
    },
    end: () => display.end(),
  };
}
