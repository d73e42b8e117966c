import type { Readable, Writable } from "node:stream";
import type { RuntimeProcess, RuntimeSpec } from "@ocid/spec";

export interface CallOptions {
  readonly signal?: AbortSignal | undefined;
}

/** `gvisor` is runsc, whose processes the kernel of this machine does not know; all others are `oci`. */
export type RuntimeType = "oci" | "gvisor";

/** An OCI runtime by the name under which callers ask for it. */
export interface RuntimeConfig {
  readonly name: string;
  /** Absolute path, or a name to be found in PATH. */
  readonly path: string;
  /** Default: by the name of the program. */
  readonly type?: RuntimeType | undefined;
  /** The runtime's own state directory. Default: below the shim's. */
  readonly root?: string | undefined;
  /** Annotations that callers may pass on to containers: names, or beginnings with `*`. Default none. */
  readonly annotations?: readonly string[] | undefined;
  /** Arguments before every command, for example `--platform=systrap`. Default none. */
  readonly args?: readonly string[] | undefined;
  /** The monitor of its containers: a path, or a name to be found in PATH. Default: the shim's. */
  readonly conmon?: string | undefined;
}

export interface ShimOptions {
  /** Where everything about containers is kept; must survive the program. */
  readonly stateDir: string;
  /**
   * Where files lie that mean nothing after a restart of the machine. Best on a tmpfs: runtimes write some of them through to
   * the disk. Default: the state directory.
   */
  readonly runDir?: string | undefined;
  readonly runtimes: readonly RuntimeConfig[];
  readonly defaultRuntime: string;
  readonly conmonPath: string;
  readonly cgroupDriver?: "cgroupfs" | "systemd";
}

/** A runtime as callers choose it. */
export interface RuntimeHandler {
  readonly name: string;
  /** As configured. */
  readonly annotations: readonly string[];
}

export interface LaunchRequest {
  readonly id: string;
  readonly name: string;
  /** Empty for the default one. */
  readonly runtimeHandler: string;
  readonly spec: RuntimeSpec;
  /** Absolute path of the CRI log; undefined throws the output away. */
  readonly logPath?: string | undefined;
  readonly stdin: boolean;
  readonly stdinOnce: boolean;
  /**
   * Of one that is restored: the directory of criu's images, which has to stay until it was started. Its processes go on
   * as they were when they were checkpointed; what the configuration says of a process is not theirs.
   */
  readonly checkpoint?: string | undefined;
}

/** A container that was made. */
export interface CreatedContainer {
  /** Of its first process; undefined where it is to be restored, and has none yet. */
  readonly pid?: number | undefined;
}

/** What is known of a container; derived from files and the kernel at each look. */
export type ContainerState =
  /** Without a process yet where it is to be restored from a checkpoint. */
  | { readonly status: "created"; readonly pid?: number | undefined }
  | { readonly status: "running"; readonly pid: number }
  | {
      readonly status: "stopped";
      readonly exitCode: number;
      readonly finishedAtNs: bigint;
      readonly oomKilled: boolean;
    }
  | { readonly status: "unknown" };

export interface ExitEvent {
  readonly id: string;
  readonly exitCode: number;
  readonly finishedAtNs: bigint;
  readonly oomKilled: boolean;
}

export interface ExecSyncRequest {
  readonly process: RuntimeProcess;
  /** 0 waits for ever. */
  readonly timeoutMs: number;
}

export interface ExecResult {
  readonly stdout: Uint8Array;
  readonly stderr: Uint8Array;
  readonly exitCode: number;
}

/** Streams of an exec or attach session; only those that are there. They are the caller's to end. */
export interface SessionStreams {
  readonly stdin?: Readable | undefined;
  readonly stdout?: Writable | undefined;
  /** Unused with a terminal, which has one output. */
  readonly stderr?: Writable | undefined;
  /** Terminal sizes in characters, as they change. */
  readonly resizes?: AsyncIterable<{ readonly width: number; readonly height: number }> | undefined;
}
