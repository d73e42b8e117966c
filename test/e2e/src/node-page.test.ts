import { execFileSync } from "node:child_process";
import { appendFileSync, statSync } from "node:fs";
import { request } from "node:http";
import { createServer } from "node:net";
import { join } from "node:path";
import { makeTestImage } from "@ocid/image-copy/testing";
import { startTestRegistry, type TestRegistry } from "@ocid/registry/testing";
import axe from "axe-core";
import { type Browser, type BrowserContextOptions, chromium, type Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { type DaemonUnderTest, eventually, startDaemonUnderTest } from "./daemon-under-test.ts";
import { podActions, type TestPod } from "./pod-actions.ts";

const repository = join(import.meta.dirname, "../../..");
const desktop = { width: 1280, height: 900 };
const phone = { width: 390, height: 844 };
/** Looked for in everything that the page is sent. */
const secret = "hunter2-not-for-the-page";
/** The page is told every two seconds, and CI has few processors. */
const soon = { timeout: 15_000 };

let port: number;
let origin: string;
let browser: Browser;
let registry: TestRegistry;
let slowImage: string;
let daemon: DaemonUnderTest;
let web: TestPod;
/** What pages have asked of others, and what went wrong in them. */
const elsewhere: string[] = [];
const complaints: string[] = [];
const { pod, started, remove } = podActions(() => daemon);

beforeAll(async () => {
  port = await freePort();
  origin = `http://127.0.0.1:${port}`;
  registry = await startTestRegistry();
  slowImage = await addSlowImage();
  daemon = await startDaemonUnderTest({
    prepare(root) {
      appendFileSync(
        join(root, "registries.conf"),
        `[[registry]]\nlocation = "${registry.host}"\ninsecure = true\n`,
      );
      // The doctor is a command of ocic.
      return { flags: ["--http", `127.0.0.1:${port}`], path: join(repository, "apps/ocic/dist") };
    },
  });
  await daemon.images.pullImage({ image: { image: daemon.image } });
  web = await pod("web", { annotations: { token: secret }, labels: { token: secret } });
  const environment = {
    envs: [{ key: "PASSWORD", value: Buffer.from(secret) }],
    annotations: { token: secret },
  };
  const command = ["sh", "-c", "sleep 1000"];
  await started(web, "server", { ...environment, args: [secret], labels: { token: secret } }, command);
  const busy = "while :; do i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; sleep 0.3; done";
  const resources = { memoryLimitInBytes: 64n << 20n };
  await started(web, "worker", { linux: { resources } }, ["sh", "-c", busy]);
  await started(await pod("batch"), "job", {}, ["sh", "-c", "exit 3"]);
  browser = await chromium.launch({
    executablePath: "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"],
  });
});

afterAll(async () => {
  await browser?.close();
  await daemon?.[Symbol.asyncDispose]();
  await registry?.[Symbol.asyncDispose]();
});

afterEach(async () => {
  for (const context of browser.contexts()) await context.close();
  expect(elsewhere.splice(0)).toEqual([]);
  expect(complaints.splice(0)).toEqual([]);
});

function freePort(): Promise<number> {
  return new Promise(resolve => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const { port: free } = server.address() as { port: number };
      server.close(() => resolve(free));
    });
  });
}

/** One whose layer stops coming after a part of it. */
async function addSlowImage(): Promise<string> {
  const content = Buffer.alloc(4 << 20);
  for (let at = 0; at < content.length; at += 4) content.writeUInt32LE((at * 2654435761) % 2 ** 32, at);
  const { manifest, blobs } = await makeTestImage({ layers: [{ files: { "big.bin": content } }] });
  for (const blob of blobs.values()) registry.addBlob("slow", blob);
  registry.addManifest("slow", manifest.bytes, manifest.descriptor.mediaType, "1");
  const [layer] = JSON.parse(Buffer.from(manifest.bytes).toString()).layers;
  registry.fail({
    path: new RegExp(layer.digest),
    fault: { kind: "hang", afterBytes: Math.floor(layer.size / 4) },
  });
  return `${registry.host}/slow:1`;
}

/** The page, as soon as it is live; `expected` are complaints of the browser that are not held against it. */
async function open(options: BrowserContextOptions = {}, expected = /^$/): Promise<Page> {
  const context = await browser.newContext({ viewport: desktop, reducedMotion: "reduce", ...options });
  const page = await context.newPage();
  context.on("request", asked => {
    if (new URL(asked.url()).origin !== origin) elsewhere.push(asked.url());
  });
  page.on("pageerror", error => complaints.push(String(error)));
  page.on("console", message => {
    if (message.type() === "error" && !expected.test(message.text())) complaints.push(message.text());
  });
  await load(page);
  await isReady(page);
  return page;
}

/**
 * Chromium gives up what it is loading when an interface of the machine comes or goes, as those of pods do, and says so; a
 * person loads the page again.
 */
async function load(page: Page): Promise<void> {
  const changed = "net::ERR_NETWORK_CHANGED";
  let isGivenUp = false;
  const onFailed = (asked: { failure(): { readonly errorText: string } | null }) => {
    isGivenUp ||= asked.failure()?.errorText === changed;
  };
  page.on("requestfailed", onFailed);
  for (let attempt = 0; attempt < 5; attempt++) {
    isGivenUp = false;
    await page.goto(origin).catch(error => {
      if (!String(error).includes(changed)) throw error;
    });
    if (!isGivenUp) break;
    for (const [at, text] of [...complaints.entries()].reverse())
      if (text.includes(changed)) complaints.splice(at, 1);
  }
  page.off("requestfailed", onFailed);
}

const isReady = (page: Page) => page.locator("#state", { hasText: /^ready$/ }).waitFor();

const row = (page: Page, section: string, name: string) =>
  page.locator(`#${section} tbody tr`).filter({ has: page.locator("td.main", { hasText: name }) });

test("the page shows what there is, and what it uses as it goes on", async () => {
  const page = await open();
  const worker = row(page, "containers", "worker");
  await worker.waitFor();
  await expect.poll(() => worker.textContent(), soon).toMatch(/e2e\/web.*running.*of 67\.1 MB/);
  await expect.poll(() => worker.locator(".cpu .numbers").textContent(), soon).toMatch(/^\d+\.?\d* %$/);
  await expect
    .poll(() => worker.locator(".cpu .line").getAttribute("d"), soon)
    .toMatch(/^M[\d.]+ [\d.]+L80 /);
  expect(await worker.locator(".network").textContent()).toMatch(/↓ .*B\/s↑ .*B\/s/);
  expect(await row(page, "containers", "job").textContent()).toContain("exit 3");
  expect(await row(page, "pods", "web").textContent()).toMatch(
    new RegExp(`ready.*${daemon.addresses}\\.\\d+.*2 of 2`),
  );
  const ocic = join(repository, "apps/ocic/dist/ocic");
  const stores = ["--root", join(daemon.root, "r"), "--runroot", join(daemon.root, "rr")];
  const [image] = JSON.parse(
    execFileSync(ocic, [...stores, "storage", "df", "--json"], { encoding: "utf8" }),
  );
  const shown = await row(page, "images", daemon.image).textContent();
  expect(shown).toContain(`${(image.bytes / 1e6).toFixed(2)} MB`);
  expect(shown).toContain("in use");
  expect(await page.locator("#events tbody").textContent()).toMatch(
    /container stopped.*e2e\/batch\/job.*exit code 3/,
  );
  expect(await page.locator("#summary").textContent()).toMatch(
    /Pods2ready of 2Containers2running of 3Images1/,
  );
  const doctor = page.locator("#summary div", { hasText: "Doctor" });
  await expect.poll(() => doctor.textContent(), { timeout: 60_000 }).toMatch(/^Doctor(well|\d+ problems?)/);
  expect(await page.title()).toMatch(/: ready$/);
});

test("pods and containers come and go while one looks on", async () => {
  const page = await open();
  const passing = await pod("passing");
  await started(passing, "guest");
  await row(page, "containers", "guest").waitFor();
  await row(page, "pods", "passing").waitFor();
  await remove(passing);
  await row(page, "containers", "guest").waitFor({ state: "detached" });
  await row(page, "pods", "passing").waitFor({ state: "detached" });
  expect(await page.locator("#events tbody").textContent()).toContain("pod removede2e/passing");
});

test("a pull in progress is shown with its bytes, and one that failed among the events", async () => {
  const page = await open();
  expect(await page.locator("#pulls .empty").textContent()).toBe("No image is being pulled.");
  const giveUp = new AbortController();
  const pull = daemon.images.pullImage({ image: { image: slowImage } }, { signal: giveUp.signal });
  const failed = expect(pull).rejects.toMatchObject({ code: "CANCELLED" });
  await expect
    .poll(() => row(page, "pulls", slowImage).textContent(), soon)
    .toMatch(/\d+(\.\d+)? [kM]B of \d/);
  const share = await page.evaluate<number>(`document.querySelector("#pulls progress").value`);
  expect(share).toBeGreaterThan(0);
  expect(share).toBeLessThan(1);
  giveUp.abort();
  await failed;
  await row(page, "pulls", slowImage).waitFor({ state: "detached" });
  await page.locator("#events tbody", { hasText: `PullImage failed${slowImage}` }).waitFor();
});

test("the keyboard is enough: skip, sort, filter", async () => {
  const page = await open();
  await row(page, "containers", "worker").waitFor();
  const focused = () => page.evaluate("document.activeElement.id || document.activeElement.textContent");
  await page.keyboard.press("Tab");
  expect(await focused()).toBe("Skip to the containers");
  await page.keyboard.press("Tab");
  expect(await focused()).toBe("filter");
  await page.keyboard.press("Tab");
  expect(await focused()).toBe("Container");
  expect(await page.evaluate("getComputedStyle(document.activeElement).outlineStyle")).toBe("solid");
  for (let presses = 0; presses < 3; presses++) await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  const heading = page.locator("#containers th", { hasText: "CPU" });
  expect(await heading.getAttribute("aria-sort")).toBe("descending");
  await expect
    .poll(() => page.locator("#containers tbody tr").first().textContent(), soon)
    .toContain("worker");
  await page.keyboard.press("Enter");
  expect(await heading.getAttribute("aria-sort")).toBe("ascending");
  await page.keyboard.press("/");
  expect(await focused()).toBe("filter");
  await page.keyboard.type("WEB server");
  const count = () => page.locator("#containers .count").textContent();
  await expect.poll(count, soon).toBe("1 of 3");
  expect(await page.locator("#images .empty").textContent()).toBe("Nothing here matches the filter.");
  await page.keyboard.press("Escape");
  await expect.poll(count, soon).toBe("3");
});

describe.each([
  ["a desktop", desktop],
  ["a phone", phone],
])("on %s", (_, viewport) => {
  test.each(["light", "dark"] as const)(
    "in %s colours nothing is cut off, and WCAG AA is kept",
    async colorScheme => {
      const page = await open({ viewport, colorScheme, bypassCSP: true });
      await row(page, "containers", "worker").waitFor();
      const ground = await page.evaluate("getComputedStyle(document.body).backgroundColor");
      expect(ground).toBe(colorScheme === "dark" ? "rgb(18, 22, 28)" : "rgb(246, 247, 249)");
      const [width, visible] = await page.evaluate<[number, number]>(
        "[document.documentElement.scrollWidth, innerWidth]",
      );
      expect(width).toBeLessThanOrEqual(visible);
      await page.evaluate(axe.source);
      const violations = await page.evaluate(`axe
      .run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] })
      .then(({ violations }) => violations.map(({ id, nodes }) => [id, nodes.slice(0, 3).map(({ html }) => html)]))`);
      expect(violations).toEqual([]);
    },
  );
});

test("names are texts, whatever they say", async () => {
  const hostile = '<img src=x onerror="document.title=1">';
  const page = await open({}, /TrustedHTML/);
  const bad = await pod("<script>alert(1)<script>", { hostname: "bad" });
  await started(bad, "bad");
  await expect(daemon.images.pullImage({ image: { image: hostile } })).rejects.toThrow();
  await row(page, "containers", "bad").waitFor();
  expect(await row(page, "containers", "bad").textContent()).toContain("e2e/<script>alert(1)<script>");
  await page.locator("#events tbody", { hasText: `PullImage failed${hostile}` }).waitFor();
  expect(await page.locator("img, main script").count()).toBe(0);
  // Nor could a script of somebody else run here.
  const blocked = await page.evaluate(`(() => {
    try {
      document.body.innerHTML = "<p>";
    } catch (error) {
      return String(error);
    }
  })()`);
  expect(blocked).toContain("TrustedHTML");
  await remove(bad);
});

test("a daemon that dies is told of, what was known stays, and the page goes on when it is back", async () => {
  const page = await open({}, /net::ERR_/);
  await row(page, "containers", "worker").waitFor();
  await daemon.kill();
  await page.getByText("The daemon does not answer since").waitFor();
  expect(await page.locator("#state").textContent()).toBe("lost");
  expect(await row(page, "containers", "worker").isVisible()).toBe(true);
  await daemon.start();
  await isReady(page);
  expect(await page.locator("#trouble").isVisible()).toBe(false);
  await started(web, "later");
  await row(page, "containers", "later").waitFor();
});

interface Answer {
  readonly status: number | undefined;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly body: string;
}

/** The answer, to its end or until enough of it is there. */
function ask(
  path: string,
  options: object = {},
  until: (body: string) => boolean = () => false,
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const asked = request({ host: "127.0.0.1", port, path, agent: false, ...options }, response => {
      let body = "";
      const done = () => resolve({ status: response.statusCode, headers: response.headers, body });
      response.on("data", chunk => {
        body += chunk;
        if (until(body)) {
          done();
          asked.destroy();
        }
      });
      response.on("end", done);
    });
    asked.once("error", reject).end();
  });
}

describe("the server", () => {
  test("sends no secret of environment, arguments, labels or annotations", async () => {
    const sections = ["node", "pods", "containers", "usage", "images", "store", "pulls", "events", "doctor"];
    const isWhole = (text: string) => sections.every(name => text.includes(`event: ${name}\ndata: {`));
    const { body } = await ask("/live", {}, isWhole);
    expect(isWhole(body)).toBe(true);
    expect(body).toContain('"pod":"e2e/web"');
    expect(body).not.toContain(secret);
  });

  test("only reads, and only for this node's own page", async () => {
    const status = async (path: string, method = "GET", headers = {}) =>
      (await ask(path, { method, headers })).status;
    expect(await status("/")).toBe(200);
    expect(await status("/", "HEAD")).toBe(200);
    expect(await status("/live", "HEAD")).toBe(200);
    for (const method of ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
      expect(await status("/", method)).toBe(405);
    for (const path of ["/metrics", "/../page.js", "/%2e%2e/x", "/index.html", "//live", "/static/page.js"])
      expect(await status(path)).toBe(404);
    for (const host of [
      "evil.example",
      `evil.example:${port}`,
      "127.0.0.1.evil.example",
      "localhost.evil.example",
    ])
      expect(await status("/live", "GET", { host })).toBe(421);
    for (const host of ["localhost", `localhost:${port}`, "[::1]:80", "10.0.0.1"])
      expect(await status("/", "GET", { host })).toBe(200);
    expect(await status("/live", "GET", { "sec-fetch-site": "cross-site", "sec-fetch-mode": "cors" })).toBe(
      403,
    );
    expect(await status("/page.js", "GET", { "sec-fetch-site": "same-site" })).toBe(403);
    const link = {
      "sec-fetch-site": "cross-site",
      "sec-fetch-mode": "navigate",
      "sec-fetch-dest": "document",
    };
    expect(await status("/", "GET", link)).toBe(200);
  });

  test("forbids what the page does not need, and is asked again only for what has changed", async () => {
    const { headers } = await ask("/page.js");
    expect(headers["content-security-policy"]).toMatch(/^default-src 'none'; script-src 'self';/);
    expect(headers["content-security-policy"]).not.toContain("unsafe");
    expect(headers).toMatchObject({
      "x-content-type-options": "nosniff",
      "cross-origin-resource-policy": "same-origin",
    });
    expect((await ask("/page.js", { headers: { "if-none-match": headers["etag"] } })).status).toBe(304);
  });

  test("keeps up eight pages at once, and takes another when one has gone", async () => {
    const streams = Array.from({ length: 8 }, () => {
      const asked = request({ host: "127.0.0.1", port, path: "/live", agent: false });
      asked.on("error", () => {});
      const answered = new Promise<number | undefined>(resolve =>
        asked.once("response", response => resolve(response.resume().statusCode)),
      );
      asked.end();
      return { asked, answered };
    });
    expect(await Promise.all(streams.map(({ answered }) => answered))).toEqual(Array(8).fill(200));
    expect((await ask("/live")).status).toBe(503);
    streams[0]!.asked.destroy();
    await eventually("there is room again", async () => (await ask("/live", {}, () => true)).status === 200);
    for (const { asked } of streams) asked.destroy();
  });
});

/** Pods that have something to do, for the pictures. */
async function showLoad(): Promise<void> {
  const loop = (work: string) => ["sh", "-c", `while :; do ${work}; done`];
  const image = (name: string) => ({ image: { image: daemon.image, userSpecifiedImage: name } });
  const limited = (mib: bigint) => ({ linux: { resources: { memoryLimitInBytes: mib << 20n } } });
  const spin = (turns: number) => `i=0; while [ $i -lt ${turns} ]; do i=$((i+1)); done`;
  const shop = await pod("shop-7d4b9c");
  await started(shop, "frontend", { ...image("registry.example/shop/frontend:2.3.1"), ...limited(256n) }, [
    ...loop(
      `${spin(20_000)}; sleep 1; ${spin(60_000)}; sleep 2; ping -c 3 -s 900 ${daemon.addresses}.1 >/dev/null`,
    ),
  ]);
  await started(shop, "cache", { ...image("registry.example/shop/cache:7"), ...limited(64n) }, [
    ...loop("dd if=/dev/zero of=/f bs=64k count=40 conv=fsync 2>/dev/null; sleep 4; rm /f; sleep 3"),
  ]);
  await started(await pod("metrics-agent-x2v8p"), "agent", image("registry.example/infra/agent:0.9.4"), [
    ...loop(`${spin(9_000)}; ping -c 1 ${daemon.addresses}.1 >/dev/null; sleep 3`),
  ]);
  const pull = daemon.images.pullImage({ image: { image: slowImage } }, { timeoutMs: 90_000 });
  pull.catch(() => {});
}

/** Of the page after a while, for its documentation. */
async function takePictures(): Promise<void> {
  await showLoad();
  const pictures = [
    ["node-page-desktop.png", { ...desktop, height: 760 }],
    ["node-page-phone.png", phone],
  ] as const;
  const pages = await Promise.all(pictures.map(([, viewport]) => open({ viewport })));
  await pages[0]!.waitForTimeout(80_000);
  for (const [at, [name]] of pictures.entries()) {
    const path = join(repository, "docs/operate", name);
    await pages[at]!.screenshot({ path });
    expect(statSync(path).size).toBeLessThan(150_000);
  }
}

if (process.env["OCID_SCREENSHOTS"] === "1") test("the documentation's pictures", takePictures);
