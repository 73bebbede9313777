/**
 * Search on another machine, by the protocol that Search-R1, verl and others share: POST `/retrieve`
 * `{"queries": […], "topk": 3, "return_scores": true}` → `{"result": [[{"document": {id, contents}, "score": f}, …], …]}`.
 *
 * @module
 */
import { InputError } from "../base/input_error.ts";
import { shown } from "../base/json_lines.ts";
import type { Hit, Retriever } from "./retriever.ts";

/** Which server, and how patient to be. */
export interface HttpRetrieverOptions {
  /** Address of the server, without `/retrieve`. */
  url: string;
  /** Seconds until an unanswered call has failed. */
  timeoutSeconds?: number;
  /** How often a call is tried again after a time-out, a broken connection or a status of 500 and above. */
  retries?: number;
}

/** Seconds before the first retry; each next one waits twice as long. */
const firstWait = 0.2;
/** Most queries of one call; a step of many roll-outs asks in several. */
const queriesPerCall = 512;

/**
 * A retriever that asks a server.
 *
 * @throws {InputError} here when the address is not one; from `search` when the server cannot be reached, refuses, or
 * answers something else than documents.
 *
 * @example
 * ```ts
 * import { createHttpRetriever } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * const document = { id: "0", contents: '"Japan"\nThe capital of Japan is Tokyo.' };
 * const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, () =>
 *   Response.json({ result: [[{ document, score: 2 }]] }));
 * const retriever = createHttpRetriever({ url: `http://127.0.0.1:${server.addr.port}` });
 * assertEquals(await retriever.search(["Japan capital"], 1), [[{ document, score: 2 }]]);
 * await server.shutdown();
 * ```
 */
export function createHttpRetriever(options: HttpRetrieverOptions): Retriever {
  const { url, timeoutSeconds = 10, retries = 2 } = options;
  if (!URL.canParse(url) || !/^https?:/.test(url)) {
    throw new InputError(
      `Cannot search at ${shown(url)}: it is no address; write one like http://127.0.0.1:8000`,
    );
  }
  const address = `${url.replace(/\/+$/, "")}/retrieve`;

  async function call(queries: readonly string[], topK: number): Promise<unknown> {
    const body = JSON.stringify({ queries, topk: topK, return_scores: true });
    for (let attempt = 0;; attempt++) {
      const outcome = await post(address, body, timeoutSeconds * 1000);
      if ("answer" in outcome) return outcome.answer;
      if (!outcome.again || attempt >= retries) {
        const times = attempt === 0 ? "" : ` (tried ${attempt + 1} times)`;
        throw new InputError(
          `Cannot search at ${address}: ${outcome.failure}${times}; start the server or correct retriever.url`,
        );
      }
      await new Promise((resolve) => setTimeout(resolve, firstWait * 1000 * 2 ** attempt));
    }
  }

  async function search(queries: readonly string[], topK: number): Promise<Hit[][]> {
    const hits: Hit[][] = [];
    for (let start = 0; start < queries.length; start += queriesPerCall) {
      hits.push(...await searchOnce(queries.slice(start, start + queriesPerCall), topK));
    }
    return hits;
  }

  async function searchOnce(queries: readonly string[], topK: number): Promise<Hit[][]> {
    const answer = await call(queries, topK);
    const result = (answer as { result?: unknown } | null)?.result;
    if (!Array.isArray(result) || result.length !== queries.length || !result.every(Array.isArray)) {
      throw unreadable(address, answer, `{"result": [one list a query]}`);
    }
    return (result as unknown[][]).map((list) =>
      list.slice(0, topK).map((item, rank) => hitOf(item, rank, address))
    );
  }
  return { search };
}

/** One call: its answer, or why it failed and whether another attempt may help. */
async function post(
  address: string,
  body: string,
  timeout: number,
): Promise<{ answer: unknown } | { failure: string; again: boolean }> {
  try {
    const response = await fetch(address, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body,
      signal: AbortSignal.timeout(timeout),
    });
    const text = await response.text();
    if (!response.ok) {
      const failure = `the server answers ${`${response.status} ${response.statusText}`.trim()} ${
        shown(text)
      }`;
      return { failure, again: response.status >= 500 };
    }
    try {
      return { answer: JSON.parse(text) };
    } catch {
      return { failure: `the server answers ${shown(text)}, which is not JSON`, again: false };
    }
  } catch (error) {
    const slow = error instanceof DOMException && error.name === "TimeoutError";
    if (!slow && !(error instanceof TypeError)) throw error;
    return { failure: slow ? `no answer within ${timeout / 1000} s` : "no connection", again: true };
  }
}

/** With scores an item is `{document, score}`; without, the document itself, and its score is the negated rank. */
function hitOf(item: unknown, rank: number, address: string): Hit {
  const bare = item as { id?: unknown; contents?: unknown } | null;
  const scored = item as { document?: typeof bare; score?: unknown } | null;
  const document = scored?.document ?? bare;
  if (typeof document?.contents !== "string") {
    throw unreadable(address, item, `{"document": {"id", "contents"}, "score"}`);
  }
  const score = typeof scored?.score === "number" ? scored.score : -rank;
  return { document: { id: String(document.id ?? ""), contents: document.contents }, score };
}

function unreadable(address: string, answer: unknown, wanted: string): InputError {
  return new InputError(
    `Cannot search at ${address}: it answers ${shown(answer)} instead of ${wanted}; correct retriever.url`,
  );
}
