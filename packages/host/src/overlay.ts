import { OcidError } from "@ocid/base";
import { errnoOf } from "./errno.ts";
import { mount } from "./mount.ts";
import { call, cString } from "./sys.ts";

export interface OverlayRequest {
  /** From the uppermost to the lowest. */
  readonly lowers: readonly string[];
  readonly upper?: string;
  readonly work?: string;
  readonly target: string;
  /** Further options of overlayfs, such as `metacopy=off`. */
  readonly options?: readonly string[];
  readonly readOnly?: boolean;
}

/**
 * Mounts an overlay. The data of mount(2) ends at one page, so what is longer is passed lower by lower through
 * fsconfig(2) (Linux 6.5 and later; up to 500 lowers).
 */
export function mountOverlay(request: OverlayRequest): void {
  const paths = [...request.lowers, request.upper ?? "", request.work ?? ""];
  const data = [`lowerdir=${request.lowers.map(escapeColon).join(":")}`];
  if (request.upper !== undefined && request.work !== undefined)
    data.push(`upperdir=${escapeComma(request.upper)}`, `workdir=${escapeComma(request.work)}`);
  data.push(...(request.options ?? []));
  const text = data.join(",");
  if (Buffer.byteLength(text) < 4096 && !paths.some(path => path.includes(","))) {
    mount({
      source: "overlay",
      target: request.target,
      fstype: "overlay",
      data: text,
      flags: request.readOnly ? ["readonly"] : [],
    });
    return;
  }
  mountByFsconfig(request);
}

function escapeColon(path: string): string {
  return path.replace(/[\\:]/g, "\\$&");
}

function escapeComma(path: string): string {
  return path.replace(/[\\,]/g, "\\$&");
}

const setFlag = 0;
const setString = 1;
const create = 6;

function mountByFsconfig(request: OverlayRequest): void {
  const about = `overlay on ${request.target}`;
  const context = call("fsopen", about, cString("overlay"), 1);
  try {
    const set = (key: string, value: string) =>
      call("fsconfig", `${about}: ${key}`, context, setString, cString(key), cString(value), 0);
    set("source", "overlay");
    for (const lower of request.lowers) set("lowerdir+", lower);
    if (request.upper !== undefined && request.work !== undefined) {
      set("upperdir", request.upper);
      set("workdir", request.work);
    }
    for (const option of request.options ?? []) {
      const at = option.indexOf("=");
      if (at === -1) call("fsconfig", `${about}: ${option}`, context, setFlag, cString(option), null, 0);
      else set(option.slice(0, at), option.slice(at + 1));
    }
    call("fsconfig", about, context, create, null, null, 0);
    const mounted = call("fsmount", about, context, 1, request.readOnly ? 1 : 0);
    try {
      call("move_mount", about, mounted, cString(""), atCurrentDirectory, cString(request.target), 0x4);
    } finally {
      call("close", about, mounted);
    }
  } catch (error) {
    if (errnoOf(error) !== "EINVAL") throw error;
    throw new OcidError(
      "FAILED_PRECONDITION",
      `${about}: the kernel refuses ${request.lowers.length} layers (more than 500, or Linux older than 6.5)`,
      { cause: error },
    );
  } finally {
    call("close", about, context);
  }
}

const atCurrentDirectory = -100;
