import type { DiffId } from "./digest.ts";
import type { Platform } from "./platform.ts";

/** An image's config (image-spec, config.md), keys as the spec spells them. Unknown keys stay in the raw bytes only. */
export interface ImageConfig extends Platform {
  readonly created?: string;
  readonly author?: string;
  readonly config?: ImageExecution;
  readonly rootfs: { readonly type: string; readonly diff_ids: readonly DiffId[] };
  readonly history?: readonly ImageHistory[];
}

/** How a container of the image runs by default. */
export interface ImageExecution {
  readonly User?: string;
  readonly ExposedPorts?: Readonly<Record<string, unknown>>;
  readonly Env?: readonly string[];
  readonly Entrypoint?: readonly string[];
  readonly Cmd?: readonly string[];
  readonly Volumes?: Readonly<Record<string, unknown>>;
  readonly WorkingDir?: string;
  readonly Labels?: Readonly<Record<string, string>>;
  readonly StopSignal?: string;
}

export interface ImageHistory {
  readonly created?: string;
  readonly created_by?: string;
  readonly author?: string;
  readonly comment?: string;
  readonly empty_layer?: boolean;
}
