import { addressesOf } from "../../../packages/cni/src/cni.ts";
import { fillTemplate } from "../../../packages/cni/src/go-template.ts";
import { parseNetwork } from "../../../packages/cni/src/network-list.ts";
import { parseCdiSpec } from "../../../packages/cri-server/src/cdi/cdi-spec.ts";
import { parseHookFile } from "../../../packages/cri-server/src/oci-hooks/hook-file.ts";
import { workloadCpu } from "../../../packages/cri-server/src/workloads.ts";
import { parseImageName } from "../../../packages/image-copy/src/image-name.ts";
import { parsePolicy } from "../../../packages/image-copy/src/policy.ts";
import { parseChallenges } from "../../../packages/registry/src/challenge.ts";
import { parseRegistriesConf } from "../../../packages/registry/src/registries-conf.ts";
import { parseManifest } from "../../../packages/spec/src/manifest.ts";
import { parseImageConfig } from "../../../packages/spec/src/parse-image-config.ts";
import { formatReference, parseReference } from "../../../packages/spec/src/reference.ts";
import { parseRows } from "../../../packages/storage/src/go-json.ts";
import { mutatedBytes, mutatedJson, mutatedText } from "./inputs.ts";
import { escapes, type Parser, parser } from "./parser.ts";

const digest = `sha256:${"a".repeat(64)}`;
const descriptor = { mediaType: "application/vnd.oci.image.layer.v1.tar+gzip", digest, size: 10 };
const encode = (value: unknown) => Buffer.from(JSON.stringify(value) ?? "");

const manifests = [
  {
    schemaVersion: 2,
    mediaType: "application/vnd.oci.image.manifest.v1+json",
    config: { mediaType: "application/vnd.oci.image.config.v1+json", digest, size: 2 },
    layers: [{ ...descriptor, urls: ["http://x/y"], annotations: { a: "b" } }],
    annotations: { a: "b" },
  },
  {
    schemaVersion: 2,
    mediaType: "application/vnd.oci.image.index.v1+json",
    manifests: [{ ...descriptor, platform: { os: "linux", architecture: "arm", variant: "v7" } }],
  },
];

const config = {
  os: "linux",
  architecture: "amd64",
  config: {
    User: "1:2",
    Env: ["A=1"],
    Cmd: ["sh"],
    Volumes: { "/x": {} },
    Labels: { a: "b" },
    ExposedPorts: { "1/tcp": {} },
  },
  rootfs: { type: "layers", diff_ids: [digest] },
  history: [{ created: "2026-01-01T00:00:00Z", created_by: "x", empty_layer: true }],
};

const policy = {
  default: [{ type: "reject" }],
  transports: {
    docker: {
      "a.test/b": [{ type: "signedBy", keyType: "GPGKeys", keyData: "AAAA" }],
      "*.c.test": [{ type: "sigstoreSigned", keyPath: "/k", signedIdentity: { type: "matchRepository" } }],
    },
    "docker-daemon": { "": [{ type: "insecureAcceptAnything" }] },
  },
};

const registries = {
  "unqualified-search-registries": ["a.test"],
  "short-name-mode": "permissive",
  "credential-helpers": ["x"],
  registry: [
    {
      prefix: "*.b.test",
      location: "c.test/d",
      insecure: true,
      mirror: [{ location: "m.test", "pull-from-mirror": "all" }],
    },
  ],
  aliases: { box: "d.test/box" },
};

const network = {
  name: "n",
  cniVersion: "1.0.0",
  plugins: [{ type: "bridge", ipam: { type: "host-local" }, capabilities: { portMappings: true } }],
};

const cdi = {
  cdiVersion: "0.7.0",
  kind: "a.test/gpu",
  devices: [
    {
      name: "0",
      containerEdits: {
        env: ["A=1"],
        deviceNodes: [{ path: "/dev/x", hostPath: "/dev/null", permissions: "rw", major: 1 }],
        mounts: [{ hostPath: "/a", containerPath: "/b", options: ["ro"] }],
        hooks: [{ hookName: "createRuntime", path: "/bin/true", args: ["x"] }],
        additionalGids: [1],
      },
    },
  ],
};

const hooks = [
  {
    version: "1.0.0",
    hook: { path: "/h", args: ["h"], env: ["A=1"], timeout: 1 },
    when: { always: true, annotations: { "^a$": "b" }, commands: ["x"], hasBindMounts: true },
    stages: ["prestart", "poststop"],
  },
  {
    hook: "/h",
    arguments: ["x"],
    cmds: ["sh"],
    annotations: ["y"],
    hasbindmounts: true,
    stages: ["poststop"],
  },
];

/** Parsers of texts and documents. */
export const documentParsers: readonly Parser[] = [
  parser({
    name: "reference",
    input: mutatedText(["a.test:5000/b/c:tag", `box@${digest}`, "[::1]:5000/x", "localhost/x:1"]),
    parse(text) {
      const reference = parseReference(text);
      if (/(^|\/)\.\.?(\/|$)|[\s\0%?#]/.test(reference.repository)) escapes("repository", reference);
      if (/[/\s\0?#@]/.test(reference.registry)) escapes("registry", reference);
      const again = formatReference(reference);
      if (formatReference(parseReference(again)) !== again) escapes("spelling", again);
    },
  }),
  parser({
    name: "image-name",
    input: mutatedText([
      "docker://a.test/b:1",
      "oci:/x:y",
      "docker-archive:/x.tar:a/b:1",
      "containers-storage:[o@/r]x",
      "dir:/x",
    ]),
    parse: parseImageName,
  }),
  parser({ name: "manifest", input: mutatedJson(manifests), parse: value => parseManifest(encode(value)) }),
  parser({
    name: "manifest-bytes",
    input: mutatedBytes(manifests.map(encode)),
    parse: bytes => parseManifest(bytes),
  }),
  parser({
    name: "image-config",
    input: mutatedJson([config]),
    parse: value => parseImageConfig(encode(value)),
  }),
  parser({
    name: "challenge",
    input: mutatedText([
      'Bearer realm="https://a.test/t",service="s",scope="repository:a/b:pull"',
      'Basic realm="x", Bearer realm="\\"y"',
    ]),
    parse(text) {
      for (const { scheme } of parseChallenges(text)) if (/[\r\n]/.test(scheme)) escapes("scheme", scheme);
    },
  }),
  parser({
    name: "registries.conf",
    input: mutatedJson([
      registries,
      { registries: { search: { registries: ["a"] }, insecure: { registries: ["b"] } } },
    ]),
    parse(value) {
      if (typeof value === "object" && value !== null && !Array.isArray(value))
        parseRegistriesConf(value as Record<string, unknown>, "registries.conf");
    },
  }),
  parser({ name: "policy.json", input: mutatedJson([policy]), parse: value => parsePolicy(encode(value)) }),
  parser({
    name: "policy.json-bytes",
    input: mutatedBytes([encode(policy)]),
    parse: bytes => parsePolicy(bytes),
  }),
  parser({
    name: "cni-network",
    input: mutatedJson([network, { ...network.plugins[0], name: "n", cniVersion: "0.4.0" }]),
    parse(value) {
      for (const { type } of parseNetwork(value, "net.conflist").plugins)
        if (type.includes("/")) escapes("plugin", type);
    },
  }),
  parser({
    name: "cni-result",
    input: mutatedJson([
      { cniVersion: "1.0.0", ips: [{ address: "10.0.0.2/24" }, { address: "fd00::2/64" }] },
    ]),
    parse(value) {
      for (const address of addressesOf(value))
        if (/[^\da-f.:%a-z]/i.test(address)) escapes("address", address);
    },
    internal: true,
  }),
  parser({
    name: "json-records",
    input: mutatedJson([
      [{ id: "a", names: ["x"], created: "2026-01-01T00:00:00Z", big: 12345678901234567890n.toString() }],
    ]),
    parse(value) {
      for (const { id } of parseRows(encode(value).toString(), "images.json"))
        if (/\/|^\./.test(id as string)) escapes("id", id);
    },
  }),
  parser({
    name: "json-records-text",
    input: mutatedText(['[{"id":"a","n":12345678901234567890,"names":["x"]},{"id":"b"}]', "null", ""]),
    parse: text => parseRows(text, "layers.json"),
  }),
  parser({
    name: "go-template",
    input: mutatedText([
      '{{range $i, $r := .PodCIDRRanges}}{{if $i}}, {{end}}[{"subnet": "{{$r}}"}]{{end}}',
      '{{- if eq .PodCIDR "x"}}a{{else if not .PodCIDR}}b{{else}}{{index .PodCIDRRanges 0}}{{end -}}',
    ]),
    parse: text =>
      fillTemplate(text, { PodCIDR: "10.0.0.0/24", PodCIDRRanges: ["10.0.0.0/24", "fd00::/64"] }),
  }),
  parser({
    name: "oci-hook",
    input: mutatedJson(hooks),
    parse(value) {
      const { hook } = parseHookFile(encode(value), text => ({ test: whole => whole.includes(text) }));
      if (!hook.path.startsWith("/")) escapes("path", hook.path);
    },
  }),
  parser({
    name: "workload-annotation",
    input: mutatedJson([{ cpuset: "0-1", cpushares: 2, cpuquota: 1000, cpuperiod: 1000, cpulimit: 1 }]),
    parse(value) {
      const workload = { activationAnnotation: "a", annotationPrefix: "p", resources: {} };
      const cpu = workloadCpu([workload], { a: "", "p/c": JSON.stringify(value) }, "c");
      if (/[^\d,-]/.test(cpu?.cpus ?? "")) escapes("cpuset", cpu);
    },
  }),
  parser({
    name: "cdi-spec",
    input: mutatedJson([cdi]),
    parse: parseCdiSpec,
  }),
];
