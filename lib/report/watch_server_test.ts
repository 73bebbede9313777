import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { makeRun } from "../../tests/made_run.ts";
import { InputError } from "../base/input_error.ts";
import { metricsLine } from "../run/metrics.ts";
import { runPaths } from "../run/run_folder.ts";
import type { PageData } from "./page_data.ts";
import { watchRun, type WatchServer } from "./watch_server.ts";

/** Fails a test that would wait for ever; nothing is said about how long things take. */
const deadline = 60_000;

async function withServer(folder: string, test: (server: WatchServer) => Promise<void>): Promise<void> {
  const server = await watchRun(folder, { port: 0 });
  try {
    await test(server);
  } finally {
    await server.close();
  }
}

async function withFolder(test: (folder: string) => Promise<void>): Promise<void> {
  const parent = await Deno.makeTempDir();
  try {
    await test(`${parent}/run`);
  } finally {
    await Deno.remove(parent, { recursive: true });
  }
}

/** A page that listens to the server. */
async function listen(server: WatchServer) {
  const response = await fetch(`${server.url}events`);
  assertEquals(response.headers.get("content-type"), "text/event-stream");
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  return {
    /** The next data that are as wanted. */
    async data(wanted: (data: PageData) => boolean): Promise<PageData> {
      const expired = AbortSignal.timeout(deadline);
      expired.addEventListener("abort", () => reader.cancel());
      for (;;) {
        for (let end = text.indexOf("\n\n"); end >= 0; end = text.indexOf("\n\n")) {
          const message = text.slice(0, end).match(/^event: data\ndata: (.+)$/);
          text = text.slice(end + 2);
          const data: PageData | undefined = message ? JSON.parse(message[1]!) : undefined;
          if (data && wanted(data)) return data;
        }
        const { value, done } = await reader.read();
        if (done) throw new Error("The stream ended before the data came");
        text += value;
      }
    },
    close: () => reader.cancel(),
  };
}

/** The status of a request as written, with any Host. */
async function statusOf(server: WatchServer, request: string): Promise<number> {
  const connection = await Deno.connect({ hostname: "127.0.0.1", port: Number(new URL(server.url).port) });
  await connection.write(new TextEncoder().encode(`${request}\r\nConnection: close\r\n\r\n`));
  const answer = await new Response(connection.readable).text();
  return Number(answer.match(/^HTTP\/1.1 (\d+)/)![1]);
}

Deno.test("watchRun() sends new rows, cut-back and remade folders to an open page", () =>
  withFolder(async (folder) => {
    await withServer(folder, async (server) => {
      const page = await listen(server);
      assertEquals((await page.data(() => true)).state, "new");

      await makeRun(folder, { stagesDone: 1 });
      assertEquals((await page.data(({ step }) => step === 5)).state, "unfinished");

      const { metrics } = runPaths(folder);
      const before = await Deno.readTextFile(metrics);
      await Deno.writeTextFile(metrics, '{"step": 6, "stage"', { append: true });
      await Deno.writeTextFile(metrics, before + metricsLine({ step: 6, stage: "grpo-1", reward: 0.9 }));
      const grown = await page.data(({ step }) => step === 6);
      const { values } = grown.charts.find(({ id }) => id === "reward")!;
      assertStringIncludes(JSON.stringify(values), "0.9");

      await Deno.writeTextFile(metrics, before.split("\n").slice(0, 3).join("\n") + "\n");
      assertEquals((await page.data(({ step }) => step === 3)).stages[1]!.steps, 0);

      await Deno.remove(folder, { recursive: true });
      assertEquals((await page.data(({ state }) => state === "new")).step, 0);

      await makeRun(folder);
      const made = await page.data(({ state }) => state === "finished");
      assertEquals([made.step, made.tables.length], [7, 1]);
      await page.close();
    });
  }));

Deno.test("watchRun() tells an open page what is wrong with a file, and goes on when it is right again", () =>
  withFolder(async (folder) => {
    await makeRun(folder, { stagesDone: 1 });
    await withServer(folder, async (server) => {
      const page = await listen(server);
      await page.data(({ step }) => step === 5);
      const { metrics } = runPaths(folder);
      const before = await Deno.readTextFile(metrics);
      await Deno.writeTextFile(metrics, "no JSON\n");
      const { warnings } = await page.data(({ warnings }) => warnings.length > 0);
      assertStringIncludes(warnings[0]!, `Cannot parse ${metrics} line 1`);
      await Deno.writeTextFile(metrics, before);
      assertEquals((await page.data(({ warnings }) => warnings.length === 0)).step, 5);
      await page.close();
    });
  }));

Deno.test("watchRun() serves / and /events to this machine and nothing else", () =>
  withFolder(async (folder) => {
    await makeRun(folder);
    await withServer(folder, async (server) => {
      const { host, port } = new URL(server.url);
      const page = await fetch(server.url);
      const html = await page.text();
      assertStringIncludes(html, "connect-src 'self'");
      assert(!html.includes("Made run"), "the live page holds no data");
      const get = (path: string, asHost: string) =>
        statusOf(server, `GET ${path} HTTP/1.1\r\nHost: ${asHost}`);
      assertEquals(await get("/", host), 200);
      assertEquals(await get("/", `localhost:${port}`), 200);
      assertEquals(await get("/", "evil.example"), 403);
      assertEquals(await get("/events", `evil.example:${port}`), 403);
      assertEquals(await get("/", "127.0.0.1:1"), 403);
      for (const path of ["/config.toml", "/../config.toml", "/events/x", "//", "/%2e%2e/config.toml"]) {
        assertEquals(await get(path, host), 404, path);
      }
      for (const path of ["/", "/events"]) {
        assertEquals(
          await statusOf(server, `POST ${path} HTTP/1.1\r\nHost: ${host}\r\nContent-Length: 0`),
          405,
        );
      }
    });
  }));

Deno.test("watchRun() has 16 streams at most, and a place again when one is closed", () =>
  withFolder(async (folder) => {
    await withServer(folder, async (server) => {
      const pages = [];
      for (let i = 0; i < 16; i++) pages.push(await listen(server));
      const refused = await fetch(`${server.url}events`);
      assertEquals(refused.status, 503);
      await refused.body!.cancel();
      await pages.pop()!.close();
      const expired = AbortSignal.timeout(deadline);
      for (let status = 503; status !== 200;) {
        assert(!expired.aborted, "the place of a closed page stays taken");
        const again = await fetch(`${server.url}events`);
        status = again.status;
        await again.body!.cancel();
      }
      for (const page of pages) await page.close();
    });
  }));

Deno.test("watchRun() refuses a port that is taken", () =>
  withServer("runs/no_such_run", async (server) => {
    const port = Number(new URL(server.url).port);
    await assertRejects(
      () => watchRun("runs/no_such_run", { port }),
      InputError,
      `Cannot serve on port ${port}: it is taken; choose another with --port`,
    );
  }));
