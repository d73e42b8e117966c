import type { UntypedServiceImplementation } from "@grpc/grpc-js";
import type { PullProgress, PullWatcher } from "@ocid/cri-api";
import type { CopyProgress } from "@ocid/image-copy";

/** A pull that is under way; it ends when it is disposed of. */
export interface FollowedPull extends Disposable {
  readonly onProgress: (event: CopyProgress) => void;
}

/** How far a pull is. */
export interface PullUnderWay {
  readonly image: string;
  readonly copiedBytes: number;
  readonly totalBytes: number;
}

/** Knows which pulls are under way, and tells whoever watches how far they are. */
export class PullHub {
  readonly #watchers = new Set<PullWatcher>();
  readonly #underWay = new Set<{ -readonly [Key in keyof PullUnderWay]: PullUnderWay[Key] }>();
  #fetchedBytes = 0;

  /** Starts to follow one pull. */
  follow(image: string): FollowedPull {
    const layers = new Map<string, PullProgress["layers"][number]>();
    const pull = { image, copiedBytes: 0, totalBytes: 0 };
    this.#underWay.add(pull);
    let told = 0;
    return {
      onProgress: event => {
        const { digest, size } = event.descriptor;
        layers.set(digest, { digest, size, bytes: event.bytes, state: event.kind });
        this.#fetchedBytes += Math.max(0, event.copiedBytes - pull.copiedBytes);
        pull.copiedBytes = event.copiedBytes;
        pull.totalBytes = event.totalBytes;
        const now = Date.now();
        if (this.#watchers.size === 0 || (event.kind === "bytes" && now - told < 50)) return;
        told = now;
        this.#tell({
          image,
          copiedBytes: event.copiedBytes,
          totalBytes: event.totalBytes,
          layers: [...layers.values()],
        });
      },
      [Symbol.dispose]: () => void this.#underWay.delete(pull),
    };
  }

  underWay(): readonly PullUnderWay[] {
    return [...this.#underWay];
  }

  /** Bytes that all pulls have brought since the start. */
  get fetchedBytes(): number {
    return this.#fetchedBytes;
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
