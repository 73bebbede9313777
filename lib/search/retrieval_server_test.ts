import { assert, assertEquals, assertMatch, assertRejects, assertThrows } from "@std/assert";
import { InputError } from "../base/input_error.ts";
import { createBm25 } from "./bm25.ts";
import { createHttpRetriever } from "./http_retriever.ts";
import { serveRetriever } from "./retrieval_server.ts";
import type { Retriever } from "./retriever.ts";

const documents = [
  { id: "fe", contents: '"Iron"\nThe symbol of Iron is Fe.' },
  { id: "ag", contents: '"Silver"\nThe symbol of Silver is Ag.' },
  { id: "o", contents: '"Oxygen"\nOxygen is a gas – “O₂” in the air.' },
];
const bm25 = createBm25({ documents });

async function served(retriever: Retriever, use: (url: string) => Promise<void>) {
  const server = serveRetriever(retriever);
  try {
    await use(server.url);
  } finally {
    await server.close();
  }
}

/** Status and body of one call. */
async function ask(url: string, body?: BodyInit, method = "POST") {
  const response = await fetch(url, { method, ...(body === undefined ? {} : { body }) });
  return { status: response.status, value: await response.json(), headers: response.headers };
}

Deno.test("serveRetriever() finds what the retriever finds", async () => {
  await served(bm25, async (url) => {
    const queries = ["iron symbol", "symbol", "air gas", "nothing of this", ""];
    const far = createHttpRetriever({ url });
    for (const topK of [1, 2, 100]) {
      assertEquals(await far.search(queries, topK), await bm25.search(queries, topK));
    }
  });
});

Deno.test("serveRetriever() gives bare documents where scores are not asked for", async () => {
  await served(bm25, async (url) => {
    const { value } = await ask(`${url}/retrieve`, JSON.stringify({ queries: ["silver"], topk: 1 }));
    assertEquals(value, { result: [[documents[1]]] });
  });
});

Deno.test("serveRetriever() takes three documents where the request does not say", async () => {
  let wanted = 0;
  const asked: Retriever = {
    search: (queries, topK) => (wanted = topK, Promise.resolve(queries.map(() => []))),
  };
  await served(asked, async (url) => {
    assertEquals((await ask(`${url}/retrieve`, '{"queries": ["a", "b"]}')).value, { result: [[], []] });
    assertEquals(wanted, 3);
  });
});

Deno.test("serveRetriever() refuses malformed bodies with 400 and one line", async () => {
  const bodies = [
    ["", "is not JSON"],
    ["{", "is not JSON"],
    ["null", '"queries" is undefined'],
    ["[]", '"queries" is'],
    ['{"queries": "iron"}', '"queries" is "iron"'],
    ['{"queries": [1]}', '"queries" is [1]'],
    [JSON.stringify({ queries: Array(1025).fill("a") }), '"queries" has 1025 items'],
    ['{"queries": ["a"], "topk": 0}', '"topk" is 0'],
    ['{"queries": ["a"], "topk": 101}', '"topk" is 101'],
    ['{"queries": ["a"], "topk": 1.5}', '"topk" is 1.5'],
    ['{"queries": ["a"], "topk": "3"}', '"topk" is "3"'],
    ['{"queries": ["a"], "return_scores": 1}', '"return_scores" is 1'],
    ["line\nline", "is not JSON"],
  ] as const;
  await served(bm25, async (url) => {
    for (const [body, why] of bodies) {
      const { status, value } = await ask(`${url}/retrieve`, body);
      assertEquals([body, status, Object.keys(value)], [body, 400, ["error"]]);
      assert(value.error.includes(why) && !value.error.includes("\n"), value.error);
    }
  });
});

Deno.test("serveRetriever() refuses other paths and methods", async () => {
  await served(bm25, async (url) => {
    assertEquals((await ask(url, "{}")).status, 404);
    assertEquals((await ask(`${url}/retrieve/x`, "{}")).status, 404);
    const get = await ask(`${url}/retrieve`, undefined, "GET");
    assertEquals([get.status, get.headers.get("allow")], [405, "POST"]);
    assertMatch(get.value.error, /GET/);
  });
});

Deno.test("serveRetriever() reads no more than a megabyte, and goes on", async () => {
  await served(bm25, async (url) => {
    const long = JSON.stringify({ queries: ["x".repeat(2 ** 20)] });
    assertEquals((await ask(`${url}/retrieve`, long)).status, 413);
    // A stream does not say its length beforehand.
    const stream = ReadableStream.from(Array(20).fill(new Uint8Array(2 ** 16)));
    assertEquals((await ask(`${url}/retrieve`, stream)).status, 413);
    assertEquals((await ask(`${url}/retrieve`, '{"queries": ["iron"]}')).status, 200);
  });
});

Deno.test("serveRetriever() answers 500 when the search throws, and goes on", async () => {
  let calls = 0;
  const broken: Retriever = {
    search: (queries, topK) => {
      if (++calls === 1) throw new Error("index\nlost");
      return bm25.search(queries, topK);
    },
  };
  await served(broken, async (url) => {
    const { status, value } = await ask(`${url}/retrieve`, '{"queries": ["iron"]}');
    assertEquals([status, value], [500, { error: "the search failed: index lost" }]);
    assertEquals((await createHttpRetriever({ url }).search(["iron"], 1))[0]!.length, 1);
  });
});

Deno.test("serveRetriever() listens on this machine only, until it is closed", async () => {
  const server = serveRetriever(bm25);
  assertMatch(server.url, /^http:\/\/127\.0\.0\.1:\d+$/);
  await server.close();
  const far = createHttpRetriever({ url: server.url, retries: 0 });
  await assertRejects(() => far.search(["iron"], 1), InputError, "no connection");
});

Deno.test("serveRetriever() says that a port is taken", async () => {
  await served(bm25, (url) => {
    const port = Number(new URL(url).port);
    assertThrows(() => serveRetriever(bm25, { port }), InputError, `Cannot serve at port ${port}`);
    return Promise.resolve();
  });
});
