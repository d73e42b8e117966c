import type { UntypedServiceImplementation } from "@grpc/grpc-js";
import type { PullProgress, PullWatcher } from "@ocid/cri-api";
import type { CopyProgress } from "@ocid/image-copy";

/** Tells whoever watches how far pulls are. */
export class PullHub {
  readonly #watchers = new Set<PullWatcher>();

  /** A listener for one pull's progress. */
  follow(image: string): (event: CopyProgress) => void {
    const layers = new Map<string, PullProgress["layers"][number]>();
    let told = 0;
    return event => {
      const { digest, size } = event.descriptor;
      layers.set(digest, { digest, size, bytes: event.bytes, state: event.kind });
      const now = Date.now();
      if (this.#watchers.size === 0 || (event.kind === "bytes" && now - told < 50)) return;
      told = now;
      this.#tell({
        image,
        copiedBytes: event.copiedBytes,
        totalBytes: event.totalBytes,
        layers: [...layers.values()],
      });
    };
  }

  implementation(): UntypedServiceImplementation {
    return {
      watch: (call: PullWatcher) => {
        this.#watchers.add(call);
        call.on("cancelled", () => {
          this.#watchers.delete(call);
          call.end();
        });
      },
    };
  }

  #tell(progress: PullProgress): void {
    for (const watcher of this.#watchers) watcher.write(progress);
  }
}
