import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { OcidError, traced } from "@ocid/base";
import { expect, test } from "vitest";
import { startTracing, wantsTraces } from "./tracing.ts";

interface Span {
  readonly name: string;
  readonly spanId: string;
  readonly parentSpanId?: string;
  readonly status: { readonly code?: number; readonly message?: string };
  readonly attributes: readonly { readonly key: string; readonly value: unknown }[];
}

test("a call is a span, and what it waits for are spans below it", async () => {
  const spans: Span[] = [];
  const collector = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk);
    const { resourceSpans } = JSON.parse(Buffer.concat(chunks).toString());
    for (const { scopeSpans } of resourceSpans) for (const scope of scopeSpans) spans.push(...scope.spans);
    response.writeHead(200, { "content-type": "application/json" }).end("{}");
  });
  await new Promise<void>(resolve => collector.listen(0, "127.0.0.1", resolve));
  const endpoint = `http://127.0.0.1:${(collector.address() as AddressInfo).port}`;
  process.env["OTEL_EXPORTER_OTLP_ENDPOINT"] = endpoint;
  try {
    const tracing = await startTracing("1.2.3", process.env);
    await Promise.allSettled([
      traced({ name: "cri.RunPodSandbox", attributes: { sandbox: "a" } }, () =>
        traced({ name: "cni.ADD", attributes: { plugin: "bridge" } }, async () => {
          throw new OcidError("UNAVAILABLE", "no address is left");
        }),
      ),
      traced({ name: "cri.Version", attributes: {} }, async () => {}),
    ]);
    await tracing[Symbol.asyncDispose]();
  } finally {
    delete process.env["OTEL_EXPORTER_OTLP_ENDPOINT"];
    await new Promise(resolve => collector.close(resolve));
  }
  const named = (name: string) => spans.find(span => span.name === name);
  expect(named("cni.ADD")).toMatchObject({
    parentSpanId: named("cri.RunPodSandbox")!.spanId,
    status: { code: 2, message: "no address is left" },
    attributes: [{ key: "plugin", value: { stringValue: "bridge" } }],
  });
  expect(named("cri.Version")!.parentSpanId ?? "").toBe("");
});

test.each([
  [{}, false],
  [{ OTEL_TRACES_EXPORTER: "otlp" }, true],
  [{ OTEL_EXPORTER_OTLP_ENDPOINT: "http://x" }, true],
  [{ OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: "http://x", OTEL_TRACES_EXPORTER: "none" }, false],
  [{ OTEL_TRACES_EXPORTER: "otlp", OTEL_SDK_DISABLED: "true" }, false],
])("traces are wanted by %j: %s", (environment, wanted) => expect(wantsTraces(environment)).toBe(wanted));
