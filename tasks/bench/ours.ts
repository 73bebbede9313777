/** Our side of the bench: `ours.ts ENGINE THREADS` opens an engine and answers requests on standard input. */
import * as tf from "@tensorflow/tfjs";
import { randomStream } from "../../lib/base/random.ts";
import { type Engine, type EngineName, openEngine } from "../../lib/engine/open_engine.ts";
import { generate } from "../../lib/model/generate.ts";
import { weightShapes } from "../../lib/model/decoder.ts";
import type { ModelConfig, Policy, Weights } from "../../lib/model/policy.ts";
import { loadTokenizer } from "../../lib/model/tokenizer.ts";
import { buildWordTokenizer } from "../../lib/world/world_tokenizer.ts";
import { grpoStepWork, rlWork, trainWork } from "./our_training.ts";
import { rolloutWork } from "./our_rollout.ts";
import { type Prepared, type PrepareRequest, serve } from "./protocol.ts";

const [name, threads] = Deno.args;
const engine = await openEngine({ engine: name as EngineName, threads: Number(threads) });

await serve((request) => {
  if (request.task === "matmul") return Promise.resolve(matmulWork(request));
  if (request.task === "rollout") return rolloutWork(engine, request);
  const policy = freshPolicy(request.config!);
  const works: Record<string, (engine: Engine, policy: Policy, request: PrepareRequest) => Prepared> = {
    train: trainWork,
    train_rl: rlWork,
    grpo_step: grpoStepWork,
    generate: generateWork,
  };
  return Promise.resolve(works[request.task]!(engine, policy, request));
});
engine.close();

/** GFLOP of products of [n, k] and [k, m] matrices, either of them transposed. */
function matmulWork({ shape }: PrepareRequest): Prepared {
  const [batch, n, k, m, times] = ["batch", "n", "k", "m", "times"].map((key) => Number(shape[key]));
  const sizes = (rows: number, columns: number) => batch === 1 ? [rows, columns] : [batch!, rows, columns];
  const [ta, tb] = [shape.a === "T", shape.b === "T"];
  const a = tf.rand(ta ? sizes(k!, n!) : sizes(n!, k!), Math.random);
  const b = tf.rand(tb ? sizes(m!, k!) : sizes(k!, m!), Math.random);
  return {
    async repeat() {
      for (let i = 0; i < times!; i++) {
        const product = tf.matMul(a, b, ta, tb);
        if (i === times! - 1) await firstNumber(product);
        product.dispose();
      }
      return 2e-9 * batch! * n! * k! * m! * times!;
    },
    dispose: () => tf.dispose([a, b]),
  };
}

/** Waits until a tensor is computed, and copies no more of it than that takes. */
async function firstNumber(tensor: tf.Tensor): Promise<void> {
  const first = tf.tidy(() => tf.slice(tf.reshape(tensor, [-1]), 0, 1));
  await first.data();
  first.dispose();
}

/** Every context goes on for the same number of sampled tokens. */
function generateWork(_engine: Engine, policy: Policy, { shape, data }: PrepareRequest): Prepared {
  const contexts = data.rows as number[][];
  const maxNewTokens = Number(shape.new);
  let round = 0;
  return {
    async repeat() {
      round++;
      const out = await generate(policy, contexts, {
        maxNewTokens,
        temperature: 1,
        stopStrings: [],
        random: (row) => randomStream(1, "bench", round, row),
        maxBatch: contexts.length,
      });
      const tokens = out.reduce((sum, row) => sum + row.tokens.length, 0);
      if (tokens !== contexts.length * maxNewTokens) throw new Error(`${tokens} tokens were generated`);
      return tokens;
    },
    dispose: () => tf.dispose(policy.weights),
  };
}

/** A policy of cheap random weights, since 135 million normal ones take long; no token of its vocabulary ends a text. */
function freshPolicy(config: ModelConfig): Policy {
  const weights: Weights = {};
  let state = 1;
  for (const [key, shape] of Object.entries(weightShapes(config))) {
    const values = new Float32Array(shape.reduce((product, n) => product * n, 1));
    for (let i = 0; i < values.length; i++) {
      state = (Math.imul(state, 1664525) + 1013904223) | 0;
      values[i] = shape.length === 1 ? (key.endsWith("bias") ? 0 : 1) : 1.6e-11 * state; // ±.034: deviation .02
    }
    weights[key] = tf.tensor(values, shape);
  }
  const words = (count: number) => buildWordTokenizer(Array.from({ length: count }, (_, i) => `w${i}`));
  const fewest = loadTokenizer(words(0)).vocabSize;
  const tokenizer = loadTokenizer(words(config.vocab_size - fewest));
  return { config, weights, tokenizer: { ...tokenizer, eosTokenId: undefined } };
}
