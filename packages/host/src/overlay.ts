import { OcidError } from "@ocid/base";
import { errnoOf } from "./errno.ts";
import { mount } from "./mount.ts";
import { maxDataBytes, mountByLinks } from "./overlay-links.ts";
import { atCurrentDirectory, call, callRaw, cString } from "./sys.ts";

export interface OverlayRequest {
  /** From the uppermost to the lowest. */
  readonly lowers: readonly string[];
  /** With `work`: the writable layer; without both the overlay is read-only by nature. */
  readonly upper?: string;
  readonly work?: string;
  readonly target: string;
  /** Further options of overlayfs, such as `metacopy=off`. */
  readonly options?: readonly string[];
  readonly readOnly?: boolean;
  /** Nothing is synced for the upper layer's sake; for layers that are thrown away when the machine dies. */
  readonly volatile?: boolean;
}

/**
 * Mounts an overlay. The data of mount(2) ends at one page, so what is longer is passed lower by lower through
 * fsconfig(2) (Linux 6.5 and later; up to 500 lowers), and on older kernels by links that are short (some 230).
 * FAILED_PRECONDITION with the kernel's words when it refuses the layers.
 */
export function mountOverlay(request: OverlayRequest): void {
  if ((request.upper === undefined) !== (request.work === undefined))
    throw new OcidError(
      "INVALID_ARGUMENT",
      `overlay on ${request.target}: upper and work come together or not at all`,
    );
  const options = [...(request.options ?? []), ...(request.volatile ? ["volatile"] : [])];
  const paths = [...request.lowers, request.upper ?? "", request.work ?? ""];
  const data = [
    `lowerdir=${request.lowers.join(":")}`,
    ...(request.upper === undefined ? [] : [`upperdir=${request.upper}`, `workdir=${request.work}`]),
    ...options,
  ].join(",");
  // Kernels differ in how the data of mount(2) is escaped, so names that would need it take the other way as well.
  if (Buffer.byteLength(data) <= maxDataBytes && !paths.some(path => /[,:\\]/.test(path))) {
    mount({
      source: "overlay",
      target: request.target,
      fstype: "overlay",
      data,
      flags: request.readOnly ? ["readonly"] : [],
    });
    return;
  }
  try {
    mountByFsconfig(request, options);
  } catch (error) {
    if (errnoOf(error) !== "EINVAL" || request.lowers.length > 230) throw error;
    retryByLinks(request, options, error);
  }
}

/** The first error says more where the kernel refuses both ways. */
function retryByLinks(request: OverlayRequest, options: readonly string[], first: unknown): void {
  try {
    mountByLinks(request, options);
  } catch (error) {
    throw errnoOf(error) === "EINVAL" ? first : error;
  }
}

const setFlag = 0;
const setString = 1;
const create = 6;

function mountByFsconfig(request: OverlayRequest, options: readonly string[]): void {
  const about = `overlay on ${request.target}`;
  const context = call("fsopen", about, cString("overlay"), 1);
  try {
    const set = (key: string, value: string) =>
      call("fsconfig", `${about}: ${key}`, context, setString, cString(key), cString(value), 0);
    set("source", "overlay");
    for (const lower of request.lowers) set("lowerdir+", lower);
    if (request.upper !== undefined && request.work !== undefined) {
      set("upperdir", escapeBackslash(request.upper));
      set("workdir", escapeBackslash(request.work));
    }
    for (const option of options) {
      const at = option.indexOf("=");
      if (at === -1) call("fsconfig", `${about}: ${option}`, context, setFlag, cString(option), null, 0);
      else set(option.slice(0, at), option.slice(at + 1));
    }
    call("fsconfig", about, context, create, null, null, 0);
    const mounted = call("fsmount", about, context, 1, request.readOnly ? 1 : 0);
    try {
      call("move_mount", about, mounted, cString(""), atCurrentDirectory, cString(request.target), 0x4);
    } finally {
      callRaw("close", mounted);
    }
  } catch (error) {
    const said = contextLog(context);
    if (errnoOf(error) !== "EINVAL") throw error;
    throw new OcidError(
      "FAILED_PRECONDITION",
      `${about}: the kernel refuses ${request.lowers.length} layers: ${said || "it may be older than Linux 6.5"}`,
      { cause: error },
    );
  } finally {
    callRaw("close", context);
  }
}

/** upperdir and workdir are unescaped by the kernel, `lowerdir+` is not. */
function escapeBackslash(path: string): string {
  return path.replaceAll("\\", "\\\\");
}

/** What the kernel has written about a file system context that it refuses (fsopen(2)): a letter, a space, a message. */
function contextLog(context: number): string {
  const messages: string[] = [];
  const buffer = Buffer.alloc(1024);
  for (;;) {
    const size = callRaw("read", context, buffer, buffer.byteLength);
    if (size <= 0) break;
    messages.push(buffer.toString("utf8", 2, size).trim());
  }
  return messages.join("; ");
}
