/**
 * The live page of one run folder: a server on this machine only, which sends the page's data anew whenever the run has
 * written something.
 *
 *     deno task watch runs/demo
 *
 * It looks at the folder instead of waiting for the file system's events, so that a folder may be missing, be removed and
 * made again, or be cut back by a resumed run. It never serves a file by its path.
 *
 * @module
 */
import { InputError } from "../base/input_error.ts";
import { runPaths } from "../run/run_folder.ts";
import type { PageData } from "./page_data.ts";
import { pageHtml } from "./page_html.ts";
import { FileCache, stampOf } from "./run_record.ts";
import { runPageData } from "./run_page.ts";

/** Milliseconds between two looks at the folder. */
const pollEvery = 500;
/** The server rests this many times as long as it took to read the folder, so that it leaves the processor to the run. */
const restFactor = 5;
/** But not longer than this, or than it took: a new point is to be seen within two seconds. */
const longestRest = 1000;
/** A comment that often keeps a stream open and shows that its reader is gone. */
const heartbeatEvery = 15_000;
const mostStreams = 16;

/** A server of a live page. */
export interface WatchServer {
  url: string;
  /** Ends all streams and closes the port. */
  close(): Promise<void>;
}

/** A page that listens. */
interface EventStream {
  /** Sends a message as soon as the reader keeps up; a newer one takes the place of one that waits. */
  send(message: Uint8Array): void;
  /** Sends a comment unless a message waits. */
  heartbeat(): void;
  close(): void;
}

/**
 * Serves the live page of a run folder on 127.0.0.1; the folder may not be there yet.
 *
 * @param options.port 8787 when left out; 0 takes any free one.
 * @throws {InputError} when the port is taken.
 */
export async function watchRun(folder: string, options: { port?: number } = {}): Promise<WatchServer> {
  const page = await pageHtml(undefined, { live: true });
  const streams = new Set<EventStream>();
  const watch = watchFolder(folder, streams);
  const server = listen(options.port ?? 8787, (request, port) => {
    const url = new URL(request.url);
    // Another site's page may resolve its own name to this address; it cannot send this Host.
    const host = request.headers.get("host");
    if (host !== `127.0.0.1:${port}` && host !== `localhost:${port}`) return plain(403, "Forbidden host");
    if (url.pathname !== "/" && url.pathname !== "/events") return plain(404, "There are / and /events only");
    if (request.method !== "GET") return plain(405, "GET only", { allow: "GET" });
    if (url.pathname === "/") {
      return new Response(page, { headers: { ...guards, "content-type": "text/html; charset=utf-8" } });
    }
    if (streams.size >= mostStreams) return plain(503, `${mostStreams} pages listen already; close one`);
    const { stream, body } = eventStream(() => streams.delete(stream));
    streams.add(stream);
    watch.greet(stream);
    return new Response(body, { headers: { ...guards, "content-type": "text/event-stream" } });
  });
  const heartbeat = setInterval(() => streams.forEach((stream) => stream.heartbeat()), heartbeatEvery);
  return {
    url: `http://127.0.0.1:${server.addr.port}/`,
    async close() {
      clearInterval(heartbeat);
      await watch.stop();
      streams.forEach((stream) => stream.close());
      await server.shutdown();
    },
  };
}

const guards = {
  "cache-control": "no-store",
  "x-content-type-options": "nosniff",
  "referrer-policy": "no-referrer",
};

function plain(status: number, text: string, headers: Record<string, string> = {}): Response {
  return new Response(`${text}\n`, { status, headers: { ...guards, ...headers } });
}

function listen(port: number, answer: (request: Request, port: number) => Response) {
  try {
    const server: Deno.HttpServer<Deno.NetAddr> = Deno.serve(
      { hostname: "127.0.0.1", port, onListen: () => {} },
      (request) => answer(request, server.addr.port),
    );
    return server;
  } catch (error) {
    if (!(error instanceof Deno.errors.AddrInUse)) throw error;
    throw new InputError(
      `Cannot serve on port ${port}: it is taken; choose another with --port, or 0 for any free one`,
    );
  }
}

/** Looks at the folder while somebody listens, and sends what it holds to all streams when it has changed. */
function watchFolder(folder: string, streams: ReadonlySet<EventStream>) {
  const files = new FileCache();
  let stamp: string | undefined;
  let data: PageData | undefined;
  let message: Uint8Array | undefined;
  let failure: string | undefined;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let looking: Promise<void> | undefined;
  let stopped = false;

  async function look(): Promise<void> {
    const began = performance.now();
    const now = await folderStamp(folder);
    if (now !== stamp) {
      try {
        data = await runPageData(folder, { live: true, files });
        // What was written meanwhile may be in the data or not: the stamp from before has it looked at again.
        stamp = now;
        failure = undefined;
        send(data);
      } catch (error) {
        // A file may be in the midst of being replaced, so this is looked at again; what stays wrong is said.
        const text = error instanceof Error ? error.message : String(error);
        if (text === failure) {
          stamp = now;
          if (data) send({ ...data, warnings: [text, ...data.warnings] });
          else console.error(`warning: ${text}`);
        }
        failure = text;
      }
    }
    const took = performance.now() - began;
    rest(Math.max(pollEvery, Math.min(restFactor * took, Math.max(longestRest, took))));
  }

  function send(shown: PageData): void {
    message = new TextEncoder().encode(`event: data\ndata: ${JSON.stringify(shown)}\n\n`);
    for (const stream of streams) stream.send(message);
  }

  function rest(milliseconds: number): void {
    timer = undefined;
    looking = undefined;
    if (!stopped && streams.size > 0) timer = setTimeout(start, milliseconds);
  }

  function start(): void {
    clearTimeout(timer);
    if (!stopped) looking ??= look();
  }

  return {
    /** Sends a new stream what there is, and looks at the folder again when nobody did. */
    greet(stream: EventStream): void {
      if (message) stream.send(message);
      if (timer === undefined) start();
    },
    async stop(): Promise<void> {
      stopped = true;
      clearTimeout(timer);
      await looking;
    },
  };
}

/** Changes whenever a run writes: whole files and checkpoints are renamed into their folders, metrics grow. */
async function folderStamp(folder: string): Promise<string> {
  const { config, environment, metrics, evaluation, best } = runPaths(folder);
  const watched = [
    config,
    environment,
    metrics,
    evaluation,
    best,
    `${folder}/rollouts`,
    `${folder}/checkpoints`,
  ];
  const infos = await Promise.all(watched.map(stampOf));
  return infos.map((info) => info ? `${info.ino} ${info.size} ${info.mtime?.getTime()}` : "-").join(", ");
}

function eventStream(onEnd: () => void): { stream: EventStream; body: ReadableStream<Uint8Array> } {
  let controller: ReadableStreamDefaultController<Uint8Array>;
  let waiting: Uint8Array | undefined;
  const flush = () => {
    if (!waiting || (controller.desiredSize ?? 0) <= 0) return;
    const message = waiting;
    // Queueing may ask for more at once, which comes back here.
    waiting = undefined;
    controller.enqueue(message);
  };
  const body = new ReadableStream<Uint8Array>({
    start: (given) => {
      controller = given;
    },
    pull: flush,
    cancel: onEnd,
  });
  const stream: EventStream = {
    send(message) {
      waiting = message;
      flush();
    },
    heartbeat() {
      if (!waiting && (controller.desiredSize ?? 0) > 0) {
        controller.enqueue(new TextEncoder().encode(": \n\n"));
      }
    },
    close() {
      controller.close();
      onEnd();
    },
  };
  return { stream, body };
}
