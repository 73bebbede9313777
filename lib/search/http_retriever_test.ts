import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { InputError } from "../base/input_error.ts";
import { createHttpRetriever } from "./http_retriever.ts";

const tokyo = { id: "0", contents: '"Japan"\nThe capital of Japan is Tokyo.' };
const osaka = { id: "1", contents: '"Osaka"\nOsaka lies in Japan.' };

/** Runs `use` against a real server on loopback. */
async function served(
  answer: (request: Request, call: number) => Response | Promise<Response>,
  use: (url: string, calls: () => number) => Promise<void>,
) {
  let calls = 0;
  const server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen: () => {} },
    (request) => answer(request, ++calls),
  );
  try {
    await use(`http://127.0.0.1:${server.addr.port}`, () => calls);
  } finally {
    await server.shutdown();
  }
}

Deno.test("createHttpRetriever() speaks the /retrieve protocol", async () => {
  let body: unknown;
  await served(async (request) => {
    assertEquals([request.method, new URL(request.url).pathname], ["POST", "/retrieve"]);
    body = await request.json();
    return Response.json({ result: [[{ document: tokyo, score: 2 }, { document: osaka, score: 1 }], []] });
  }, async (url) => {
    const hits = await createHttpRetriever({ url: `${url}/` }).search(["Japan", "?"], 3);
    assertEquals(hits, [[{ document: tokyo, score: 2 }, { document: osaka, score: 1 }], []]);
    assertEquals(body, { queries: ["Japan", "?"], topk: 3, return_scores: true });
  });
});

Deno.test("createHttpRetriever() takes bare documents, and no more than asked for", async () => {
  await served(() => Response.json({ result: [[tokyo, osaka]] }), async (url) => {
    const [hits] = await createHttpRetriever({ url }).search(["Japan"], 1);
    assertEquals(hits!.map(({ document }) => document), [tokyo]);
  });
});

Deno.test("createHttpRetriever() asks nothing for no queries", async () => {
  assertEquals(await createHttpRetriever({ url: "http://127.0.0.1:9" }).search([], 3), []);
});

Deno.test("createHttpRetriever() asks for many queries in several calls, and keeps their order", async () => {
  const queries = Array.from({ length: 1100 }, (_, i) => `query ${i}`);
  const sizes: number[] = [];
  await served(async (request) => {
    const { queries } = await request.json();
    sizes.push(queries.length);
    return Response.json({ result: queries.map((contents: string) => [{ id: contents, contents }]) });
  }, async (url) => {
    const hits = await createHttpRetriever({ url }).search(queries, 1);
    assertEquals(hits.map(([hit]) => hit!.document.id), queries);
    assertEquals(sizes, [512, 512, 76]);
  });
});

Deno.test("createHttpRetriever() tries again after a status of 500 and above", async () => {
  await served(
    (_, call) => call < 3 ? new Response("busy", { status: 503 }) : Response.json({ result: [[tokyo]] }),
    async (url, calls) => {
      const [hits] = await createHttpRetriever({ url, retries: 2 }).search(["Japan"], 1);
      assertEquals(hits!.length, 1);
      assertEquals(calls(), 3);
    },
  );
});

Deno.test("createHttpRetriever() gives up after its retries and says how often it tried", async () => {
  await served(() => new Response("busy", { status: 503 }), async (url, calls) => {
    const search = () => createHttpRetriever({ url, retries: 1 }).search(["Japan"], 1);
    await assertRejects(
      search,
      InputError,
      `/retrieve: the server answers 503 Service Unavailable "busy" (tried 2 times)`,
    );
    assertEquals(calls(), 2);
  });
});

Deno.test("createHttpRetriever() does not repeat a request that is refused", async () => {
  await served(() => new Response("no", { status: 404 }), async (url, calls) => {
    await assertRejects(() => createHttpRetriever({ url }).search(["Japan"], 1), InputError, "404 Not Found");
    assertEquals(calls(), 1);
  });
});

Deno.test("createHttpRetriever() waits no longer than the time-out", async () => {
  let release = () => {};
  const held = new Promise<void>((resolve) => release = resolve);
  await served(async () => {
    await held;
    return Response.json({ result: [[tokyo]] });
  }, async (url) => {
    const retriever = createHttpRetriever({ url, timeoutSeconds: 0.05, retries: 0 });
    await assertRejects(
      () => retriever.search(["Japan"], 1),
      InputError,
      "no answer within 0.05 s; start the server",
    );
    release();
  });
});

Deno.test("createHttpRetriever() says that nobody listens", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr as Deno.NetAddr;
  listener.close();
  const retriever = createHttpRetriever({ url: `http://127.0.0.1:${port}`, retries: 0 });
  await assertRejects(() => retriever.search(["Japan"], 1), InputError, "no connection; start the server");
});

Deno.test("createHttpRetriever() refuses answers that are not documents", async () => {
  for (
    const wrong of [
      "<html>",
      "{}",
      "null",
      '{"result": []}',
      '{"result": [[{"document": {}}]]}',
      '{"result": [3]}',
    ]
  ) {
    await served(() => new Response(wrong), async (url) => {
      const error = await assertRejects(() => createHttpRetriever({ url }).search(["Japan"], 1), InputError);
      assert(error.message.startsWith(`Cannot search at ${url}/retrieve`), error.message);
    });
  }
});

Deno.test("createHttpRetriever() refuses what is no address", () => {
  for (const url of ["", "localhost:8000", "ftp://x"]) {
    assertThrows(() => createHttpRetriever({ url }), InputError, "it is no address; write one like http://");
  }
});
