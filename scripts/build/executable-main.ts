/**
 * The texts with which an executable, and each of its worker threads, begins: they start the program of that name that
 * lies in the assets, with what V8 had compiled of it when it was built, unless that was on another kind of machine. V8
 * compiles anew where that does not fit, which is no failure, but nobody would notice it otherwise.
 */
export const startText = (name: string, hasCache: boolean): string => `"use strict";
const { getRawAsset } = require("node:sea");
const { Script, constants } = require("node:vm");
const script = new Script(Buffer.from(getRawAsset("${name}.text")).latin1Slice(), {
  filename: "${name}.js",${hasCache ? `\n  cachedData: new Uint8Array(getRawAsset("${name}.cache")),` : ""}
  importModuleDynamically: constants.USE_MAIN_CONTEXT_DEFAULT_LOADER,
});
if (script.cachedDataRejected) process.emitWarning("what was compiled of ${name} in its build does not fit; it starts slowly");
script.runInThisContext()(require, process.execPath);
`;
