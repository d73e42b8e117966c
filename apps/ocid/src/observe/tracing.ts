import { AsyncLocalStorage } from "node:async_hooks";
import { bindOperations, messageOf, type Operation, observeOperations } from "@ocid/base";

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * Whether OpenTelemetry's environment asks for traces: an endpoint is given or an exporter named, and neither is
 * switched off (OpenTelemetry specification, "Environment Variable Specification").
 */
export function wantsTraces(environment: Environment): boolean {
  if (environment["OTEL_SDK_DISABLED"] === "true" || environment["OTEL_TRACES_EXPORTER"] === "none")
    return false;
  return (
    environment["OTEL_TRACES_EXPORTER"] === "otlp" ||
    environment["OTEL_EXPORTER_OTLP_ENDPOINT"] !== undefined ||
    environment["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"] !== undefined
  );
}

/**
 * Sends a span for each operation to a collector by OTLP over HTTP: a call of the CRI, and below it the runtime, CNI
 * and registry work that it waits for. The exporter reads its own OTEL_ variables. Loaded only when traces are wanted.
 */
export async function startTracing(version: string, environment: Environment): Promise<AsyncDisposable> {
  const [{ ROOT_CONTEXT, SpanStatusCode, trace }, sdk, { OTLPTraceExporter }, { resourceFromAttributes }] =
    await Promise.all([
      import("@opentelemetry/api"),
      import("@opentelemetry/sdk-trace"),
      import("@opentelemetry/exporter-trace-otlp-http"),
      import("@opentelemetry/resources"),
    ]);
  const provider = new sdk.TracerProvider({
    resource: resourceFromAttributes({
      "service.name": environment["OTEL_SERVICE_NAME"] ?? "ocid",
      "service.version": version,
    }),
    spanProcessors: [new sdk.BatchSpanProcessor({ exporter: new OTLPTraceExporter() })],
  });
  const tracer = provider.getTracer("ocid", version);
  type Span = ReturnType<typeof tracer.startSpan>;
  const current = new AsyncLocalStorage<Span>();
  const spans = new WeakMap<Operation, Span>();
  const binding = bindOperations(current, operation => {
    const parent = current.getStore();
    const span = tracer.startSpan(
      operation.name,
      { attributes: operation.attributes },
      parent ? trace.setSpan(ROOT_CONTEXT, parent) : ROOT_CONTEXT,
    );
    spans.set(operation, span);
    return span;
  });
  const observer = observeOperations({
    end(operation, error) {
      const span = spans.get(operation);
      if (error !== undefined) span?.setStatus({ code: SpanStatusCode.ERROR, message: messageOf(error) });
      span?.end();
    },
  });
  return {
    async [Symbol.asyncDispose]() {
      binding[Symbol.dispose]();
      observer[Symbol.dispose]();
      await provider.shutdown();
    },
  };
}
