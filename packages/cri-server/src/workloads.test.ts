import { expect, test } from "vitest";
import { parseWorkloadResources, workloadCpu } from "./workloads.ts";

const management = {
  activationAnnotation: "target.test/management",
  annotationPrefix: "resources.test",
  resources: { cpushares: 200, cpuset: "0-1" },
};
const active = { "target.test/management": "" };
const cpu = (annotations: Readonly<Record<string, string>>, resources: object = management.resources) =>
  workloadCpu([{ ...management, resources }], annotations, "c");

test("a pod with the annotation gets what the workload says, another one nothing", () => {
  expect(cpu(active)).toEqual({ shares: 200, cpus: "0-1" });
  expect(cpu({})).toBeUndefined();
  expect(cpu({ "resources.test/c": '{"cpuset":"1"}' })).toBeUndefined();
  expect(cpu(active, {})).toBeUndefined();
  expect(cpu(active, { cpushares: 0, cpuset: "" })).toBeUndefined();
});

test("an annotation of the pod says otherwise for one of its containers, key by key", () => {
  const own = (value: object, name = "c") => ({
    ...active,
    [`resources.test/${name}`]: JSON.stringify(value),
  });
  expect(cpu(own({ cpuset: "3" }))).toEqual({ shares: 200, cpus: "3" });
  expect(cpu(own({ cpushares: 2, cpuset: "" }))).toEqual({ shares: 2, cpus: "0-1" });
  expect(cpu(own({ cpuset: "3" }, "other"))).toEqual({ shares: 200, cpus: "0-1" });
});

test("thousandths of a CPU become a quota of the period", () => {
  expect(cpu(active, { cpulimit: 250 })).toEqual({ quota: 25_000 });
  expect(cpu(active, { cpulimit: 250, cpuperiod: 50_000, cpuquota: 7_000 })).toEqual({
    quota: 12_500,
    period: 50_000,
  });
  expect(cpu(active, { cpulimit: 1 })).toEqual({ quota: 1_000 });
  expect(cpu(active, { cpuquota: -1 })).toEqual({ quota: -1 });
});

test("the first workload that fits counts", () => {
  const other = { ...management, activationAnnotation: "b", resources: { cpuset: "7" } };
  expect(workloadCpu([other, management], { ...active, b: "" }, "c")).toEqual({ cpus: "7" });
});

test.each([
  ["{", 'annotation resources.test/c: not JSON: "{"'],
  ["null", "annotation resources.test/c: resources should be a table, found null"],
  ['{"cpuset":"0-"}', 'resources.cpuset should be a list of CPUs such as "0-1,4", found "0-"'],
  ['{"cpuset":1}', "resources.cpuset should be a list of CPUs"],
  ['{"cpushares":"200"}', 'resources.cpushares should be a whole number from 2 to 262144, found "200"'],
  ['{"cpushares":1}', "found 1"],
  ['{"cpuquota":-2}', "resources.cpuquota"],
  ['{"cpuperiod":10}', "resources.cpuperiod"],
  ['{"cpus":"1"}', "resources.cpus should be one of cpushares, cpuset"],
  ['{"__proto__":1}', "resources.__proto__"],
])("an annotation with %s is refused", (value, message) => {
  const attempt = () => cpu({ ...active, "resources.test/c": value });
  expect(attempt).toThrow(message);
  expect(attempt).toThrow("annotation resources.test/c");
});

test("what is read is what was given", () => {
  const resources = { cpushares: 2, cpuset: "0,2-3", cpuquota: 5000, cpuperiod: 1000, cpulimit: 1 };
  expect(parseWorkloadResources(resources)).toEqual(resources);
});
