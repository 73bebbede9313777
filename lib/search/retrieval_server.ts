/**
 * A search server for any retriever, by the protocol of `http_retriever.ts`: POST `/retrieve`
 * `{"queries": […], "topk": 3, "return_scores": true}` → `{"result": [[{"document": {id, contents}, "score": f}, …], …]}`.
 * Search-R1, verl and others ask in the same words.
 *
 * @module
 */
import { InputError } from "../base/input_error.ts";
import { shown } from "../base/json_lines.ts";
import type { Retriever } from "./retriever.ts";

/** Where the server listens. */
export interface RetrievalServerOptions {
  /** 0, the default, takes any free port. */
  port?: number;
  /** 127.0.0.1 by default: only this machine can ask. */
  hostname?: string;
}

/** A server that is listening. */
export interface RetrievalServer {
  /** The address to write under `retriever.url`. */
  url: string;
  /** Answers what was asked already, then stops. */
  close(): Promise<void>;
}

const mostBytes = 2 ** 20;
const mostQueries = 1024;
const mostDocuments = 100;
/** Search-R1's default, for a request that does not say. */
const defaultTopK = 3;

/**
 * Serves a retriever over HTTP. A request that is refused gets `{"error": "…"}` in one line: 400 for a malformed body, 404
 * for another path, 405 for another method, 413 for a body above 1 MB; a search that throws gets 500. It reads no
 * credentials and has no limit of requests, so let only machines that you trust reach it.
 *
 * @throws {InputError} when another process has the port.
 *
 * @example
 * ```ts
 * import { createBm25, createHttpRetriever, serveRetriever } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * const documents = [{ id: "a", contents: '"Iron"\nThe symbol of Iron is Fe.' }];
 * const server = serveRetriever(createBm25({ documents }));
 * const [hits] = await createHttpRetriever({ url: server.url }).search(["iron symbol"], 1);
 * assertEquals(hits!.map(({ document }) => document.id), ["a"]);
 * await server.close();
 * ```
 */
export function serveRetriever(
  retriever: Retriever,
  { port = 0, hostname = "127.0.0.1" }: RetrievalServerOptions = {},
): RetrievalServer {
  const server = listen(port, hostname, async (request) => {
    const body = await readBody(request);
    const asked = body instanceof Response ? body : parseRequest(body);
    if (asked instanceof Response) return asked;
    try {
      const result = await retriever.search(asked.queries, asked.topK);
      return Response.json({
        result: result.map((hits) => hits.map((hit) => asked.scores ? hit : hit.document)),
      });
    } catch (error) {
      return refused(500, `the search failed: ${error instanceof Error ? error.message : error}`);
    }
  });
  const name = server.addr.hostname.includes(":") ? `[${server.addr.hostname}]` : server.addr.hostname;
  return { url: `http://${name}:${server.addr.port}`, close: () => server.shutdown() };
}

function listen(port: number, hostname: string, answer: (request: Request) => Promise<Response>) {
  try {
    return Deno.serve({ port, hostname, onListen: () => {} }, answer);
  } catch (error) {
    if (!(error instanceof Deno.errors.AddrInUse)) throw error;
    throw new InputError(`Cannot serve at port ${port}: another process has it; choose another`);
  }
}

/** The body of a request to the right place, cut off when it grows too long. */
async function readBody(request: Request): Promise<string | Response> {
  const { pathname } = new URL(request.url);
  if (pathname !== "/retrieve") return refused(404, `there is nothing at ${shown(pathname)}; ask /retrieve`);
  if (request.method !== "POST") {
    return refused(405, `the method is ${request.method}; send a POST`, { allow: "POST" });
  }
  const parts: Uint8Array<ArrayBuffer>[] = [];
  let size = 0;
  try {
    for await (const part of request.body ?? []) {
      size += part.length;
      if (size > mostBytes) return refused(413, `the body has more than ${mostBytes} bytes; ask in parts`);
      parts.push(part);
    }
    return await new Blob(parts).text();
  } catch {
    return refused(400, "the body ended too early; send it again");
  }
}

/** What a body asks for. */
function parseRequest(body: string): { queries: string[]; topK: number; scores: boolean } | Response {
  let value: unknown;
  try {
    value = JSON.parse(body);
  } catch {
    return refused(400, `${shown(body)} is not JSON; send {"queries": […], "topk": ${defaultTopK}}`);
  }
  const { queries, topk = defaultTopK, return_scores: scores = false } = Object(value);
  if (!Array.isArray(queries) || !queries.every((query) => typeof query === "string")) {
    return refused(400, `"queries" is ${shown(queries)}; make it a list of strings`);
  }
  if (queries.length > mostQueries) {
    return refused(400, `"queries" has ${queries.length} items; ask ${mostQueries} at most`);
  }
  if (!Number.isInteger(topk) || topk < 1 || topk > mostDocuments) {
    return refused(400, `"topk" is ${shown(topk)}; make it a whole number from 1 to ${mostDocuments}`);
  }
  if (typeof scores !== "boolean") {
    return refused(400, `"return_scores" is ${shown(scores)}; make it true or false`);
  }
  return { queries, topK: topk, scores };
}

function refused(status: number, error: string, headers: Record<string, string> = {}): Response {
  return Response.json({ error: error.replaceAll(/\s+/g, " ") }, { status, headers });
}
