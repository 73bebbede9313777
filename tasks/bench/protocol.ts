/** How the bench talks to the processes that compute: a line of JSON asks, a line of JSON answers. @module */
import type { ModelConfig } from "../../lib/model/policy.ts";

/** A row of the RL batch; the mask is 1 on tokens that the model wrote, the first `prompt` tokens are the question. */
export interface RlRow {
  tokens: number[];
  mask: number[];
  prompt: number;
  advantage: number;
}

/** What both sides compute on. */
export interface WorkData {
  rows?: number[][] | RlRow[];
  /** Log-prob of every token under the policy that sampled it, in nats. */
  old?: number;
  /** The roll-outs that a peer repeats, turn by turn: contexts, and how many tokens each row then wrote. */
  turns?: { contexts: number[][]; lengths: number[] }[];
  /** A folder with the policy of the roll-outs; made there by the first who needs it. */
  folder?: string;
}

/** Sets a work up and does it without a clock, `warm` times at least and until `warmSeconds` are over. */
export interface PrepareRequest {
  do: "prepare";
  task: string;
  shape: Record<string, number | string>;
  config?: ModelConfig;
  data: WorkData;
  warm: number;
  warmSeconds: number;
}

/** What a process answers. */
export interface Answer {
  ready?: true;
  /** What the work recorded for its peer. */
  turns?: WorkData["turns"];
  /** Seconds of one repetition. */
  seconds?: number;
  /** Work done in it: GFLOP, tokens, queries or steps. */
  amount?: number;
  error?: string;
}

/** A work that was set up. */
export interface Prepared {
  /** Does it once, and returns the amount done. */
  repeat(): Promise<number>;
  dispose(): void;
  turns?: WorkData["turns"];
}

/** Answers requests on standard input until it ends. */
export async function serve(prepare: (request: PrepareRequest) => Promise<Prepared>): Promise<void> {
  const answer = (fields: Answer) => console.log(JSON.stringify(fields));
  let prepared: Prepared | undefined;
  for await (const line of lines(Deno.stdin.readable)) {
    try {
      const request = JSON.parse(line) as PrepareRequest | { do: "repeat" };
      if (request.do === "prepare") {
        prepared?.dispose();
        prepared = undefined;
        prepared = await prepare(request);
        const until = performance.now() + 1000 * request.warmSeconds;
        for (let i = 0; i < request.warm || performance.now() < until; i++) await prepared.repeat();
        answer({ ready: true, ...(prepared.turns ? { turns: prepared.turns } : {}) });
      } else {
        const started = performance.now();
        const amount = await prepared!.repeat();
        answer({ seconds: (performance.now() - started) / 1000, amount });
      }
    } catch (error) {
      answer({ error: error instanceof Error ? error.message : String(error) });
    }
  }
}

/** The lines of a stream of UTF-8. */
export async function* lines(stream: ReadableStream<Uint8Array<ArrayBuffer>>): AsyncGenerator<string> {
  let rest = "";
  for await (const text of stream.pipeThrough(new TextDecoderStream())) {
    const parts = (rest + text).split("\n");
    rest = parts.pop()!;
    yield* parts;
  }
  if (rest !== "") yield rest;
}
