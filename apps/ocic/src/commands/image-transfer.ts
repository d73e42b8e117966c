import { OcidError } from "@ocid/base";
import type { CopyProgress, OnProgress } from "@ocid/image-copy";
import { ProgressDisplay, type TransferState } from "../output/progress.ts";

/** Reads `--progress`; undefined is what suits where it is shown. */
export function isJson(form: string | undefined): boolean {
  if (form === undefined || form === "json") return form === "json";
  throw new OcidError("INVALID_ARGUMENT", `--progress should be json, found ${JSON.stringify(form)}`);
}

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
        bytesPerSecond: event.bytesPerSecond,
        secondsLeft: event.secondsLeft,
        layers: [...layers.values()],
      });
    },
    end: () => display.end(),
  };
}
