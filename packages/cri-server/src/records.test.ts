import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create } from "@bufbuild/protobuf";
import { ContainerConfigSchema, PodSandboxConfigSchema } from "@ocid/cri-api";
import { afterEach, beforeEach, expect, test } from "vitest";
import { type Container, Records, type Sandbox } from "./records.ts";

const [podId, containerId] = ["a".repeat(64), "b".repeat(64)];
let stateDir: string;
beforeEach(async () => {
  stateDir = mkdtempSync(join(tmpdir(), "records-"));
  const records = new Records(stateDir);
  await records.saveSandbox(sandbox);
  await records.saveContainer(container);
});
afterEach(() => rmSync(stateDir, { recursive: true }));

const sandbox: Sandbox = {
  ...{ id: podId, name: "p_ns_uid_0", phase: "ready", handler: "", createdAtNs: 5n, cgroupParent: "/ocid-a" },
  ...{ ownsCgroup: true, hostNetwork: false, namespaces: { net: "/ns/net" }, ips: ["10.0.0.2"] },
  ...{ pauseId: undefined, bootId: "boot", unanswered: true, stopping: false },
  config: create(PodSandboxConfigSchema, { metadata: { name: "p", namespace: "ns", uid: "uid" } }),
};
const container: Container = {
  ...{ id: containerId, sandboxId: podId, name: "k8s_c_p_ns_uid_0", phase: "created", imageId: "c" },
  ...{ imageRef: "box@sha256:c", createdAtNs: 6n, startedAtNs: 7n, stopSignal: "SIGTERM", logPath: "/log" },
  ...{
    user: { uid: 1, gid: 2, groups: [3] },
    unanswered: true,
    endTold: false,
    state: { status: "unknown" },
  },
  config: create(ContainerConfigSchema, { metadata: { name: "c" }, image: { image: "box" } }),
  end: { exitCode: 255, finishedAtNs: 8n, oomKilled: false },
};

const podFile = () => join(stateDir, "sandboxes", podId, "sandbox.json");
const containerFile = () => join(stateDir, "records", containerId, "container.json");
const change = (file: string, fields: object) =>
  writeFileSync(file, JSON.stringify({ ...JSON.parse(readFileSync(file, "utf8")), ...fields }));

test("records come back as they were written", () => {
  const records = new Records(stateDir);
  expect(records.load()).toEqual([]);
  expect(records.sandboxes.get(podId)).toEqual(sandbox);
  expect(records.containers.get(containerId)).toEqual(container);
});

test("a record of the time before versions is read, and one with fields of a newer CRI", () => {
  change(podFile(), { version: undefined });
  change(containerFile(), {
    config: { ...JSON.parse(readFileSync(containerFile(), "utf8")).config, newInTheCri: 1 },
  });
  expect(new Records(stateDir).load()).toEqual([]);
});

test.each<[string, () => void, string]>([
  [
    "truncated",
    () => writeFileSync(podFile(), readFileSync(podFile()).subarray(0, 100)),
    "sandbox.json: Unterminated string",
  ],
  ["empty", () => writeFileSync(podFile(), ""), "sandbox.json: Unexpected end"],
  ["zeros", () => writeFileSync(podFile(), Buffer.alloc(4096)), "sandbox.json: Unexpected token"],
  ["no text", () => writeFileSync(podFile(), Buffer.of(0xff, 0xfe, 0)), "not valid for encoding utf-8"],
  ["a list", () => writeFileSync(podFile(), "[]"), "it is no JSON object"],
  [
    "a directory in its place",
    () => {
      rmSync(podFile());
      mkdirSync(podFile());
    },
    "EISDIR",
  ],
  [
    "missing",
    () => {
      writeFileSync(join(stateDir, "sandboxes", podId, "hosts"), "");
      rmSync(podFile());
    },
    "ENOENT",
  ],
  ["of a newer version", () => change(podFile(), { version: 2 }), "it is of version 2"],
  [
    "of another id",
    () => change(podFile(), { id: "../../etc" }),
    'it is of "../../etc", not of its directory',
  ],
  ["a phase that is none", () => change(podFile(), { phase: "asleep" }), "its phase is missing"],
  ["a cgroup elsewhere", () => change(podFile(), { cgroupParent: "/../../x" }), "its cgroupParent"],
  ["a namespace that is no path", () => change(podFile(), { namespaces: { net: 5 } }), "its namespaces"],
  ["a pause id with a path", () => change(podFile(), { pauseId: "../x" }), "its pauseId"],
  ["a time that is none", () => change(podFile(), { createdAtNs: "soon" }), "its createdAtNs"],
  ["a config that is none", () => change(podFile(), { config: { metadata: 5 } }), "cannot decode"],
  ["a config without metadata", () => change(podFile(), { config: {} }), "its config.metadata"],
  ["a container of another id", () => change(containerFile(), { id: podId }), "not of its directory"],
  ["a container of no pod", () => change(containerFile(), { sandboxId: "../x" }), "its sandboxId"],
  ["a log path that is none", () => change(containerFile(), { logPath: "x" }), "its logPath"],
  ["a user that is none", () => change(containerFile(), { user: { uid: "0" } }), "its user"],
])("a record that is damaged (%s) is told with its file, and the others are read", (_, damage, said) => {
  damage();
  const records = new Records(stateDir);
  const damaged = records.load();
  expect(damaged).toHaveLength(1);
  const [{ kind, id, message }] = damaged as [(typeof damaged)[0]];
  expect(message).toContain(said);
  expect(message).toContain(kind === "sandbox" ? podFile() : containerFile());
  expect(id).toBe(kind === "sandbox" ? podId : containerId);
  expect(records.sandboxes.size + records.containers.size).toBe(1);
  // Nothing was touched.
  expect(existsSync(join(stateDir, kind === "sandbox" ? "sandboxes" : "records", id))).toBe(true);
});

test("what is set aside is kept with its reason, also when it is set aside again", () => {
  const records = new Records(stateDir);
  for (const round of [1, 2]) {
    mkdirSync(join(stateDir, "sandboxes", podId), { recursive: true });
    writeFileSync(podFile(), `round ${round}`);
    records.load();
    records.setAside("sandbox", podId, "it is garbage");
  }
  const kept = readdirSync(join(records.quarantine, "sandboxes"));
  expect(kept).toHaveLength(2);
  expect(kept.map(name => name.slice(0, 64))).toEqual([podId, podId]);
  expect(readFileSync(join(records.quarantine, "sandboxes", podId, "sandbox.json"), "utf8")).toBe("round 1");
  expect(readFileSync(join(records.quarantine, "sandboxes", podId, "reason.txt"), "utf8")).toBe(
    "it is garbage\n",
  );
  expect([...records.setAsideIds("sandbox")]).toEqual([podId]);
});

test("half a deletion, a directory that was just made, and what is somebody else's are no damage", () => {
  const other = join(stateDir, "records", "notes.bak");
  mkdirSync(other);
  mkdirSync(join(stateDir, "records", `.gone-${podId}`));
  mkdirSync(join(stateDir, "records", podId));
  writeFileSync(join(stateDir, "records", podId, ".tmp-0123456789ab"), "{");
  const records = new Records(stateDir);
  expect(records.load()).toEqual([]);
  expect(readdirSync(join(stateDir, "records")).sort()).toEqual([containerId, "notes.bak"]);
});
