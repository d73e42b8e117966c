import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";

export interface StaticFile {
  readonly body: Buffer;
  readonly contentType: string;
  readonly etag: string;
}

const contentTypes = {
  html: "text/html; charset=utf-8",
  css: "text/css; charset=utf-8",
  js: "text/javascript; charset=utf-8",
  svg: "image/svg+xml",
} as const;

const names = [
  ...["index.html", "style.css", "icon.svg"],
  ...["page.js", "live.js", "summary.js", "workloads.js", "images.js", "health.js"],
  ...["table.js", "cells.js", "chart.js", "units.js"],
] as const;

/** What the browser gets, by the path that it asks for. All of it is read here, a few kilobytes. */
export function loadStaticFiles(): ReadonlyMap<string, StaticFile> {
  return new Map(names.map(name => [name === "index.html" ? "/" : `/${name}`, load(name)]));
}

function load(name: (typeof names)[number]): StaticFile {
  const body = read(name);
  return {
    body,
    contentType: contentTypes[name.split(".")[1] as keyof typeof contentTypes],
    etag: `"${createHash("sha256").update(body).digest("base64url").slice(0, 22)}"`,
  };
}

/** From the executable's assets; else from the directory beside this module, or beside the program that it is bundled in. */
function read(name: string): Buffer {
  const sea = process.getBuiltinModule("node:sea");
  if (sea.isSea()) return Buffer.from(sea.getRawAsset(`static/${name}`));
  return readFileSync(new URL(`./static/${name}`, import.meta.url));
}
