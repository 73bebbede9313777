/**
 * Log-probs of given tokens under a policy, without gradients: the trainer's own figures for the tokens that the sampler
 * drew, and the reference policy's.
 *
 * @module
 */
import * as tf from "@tensorflow/tfjs";
import type { CompiledStep, Engine } from "../engine/open_engine.ts";
import type { Policy } from "../model/policy.ts";
import { type TeacherTargets, teacherTargets } from "./ofsd.ts";
import { modelLogits, tokenLogprobs } from "../model/scoring.ts";
import { type BatchTensors, batchTensors, microBatches, packForEngine, type Sequence } from "./batch.ts";

/**
 * Scores sequences under any policy of one model size.
 *
 * @example
 * ```ts
 * import { buildWordTokenizer, initWeights, loadTokenizer, openEngine, Scorer } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 * import * as tf from "@tensorflow/tfjs";
 *
 * const tokenizer = loadTokenizer(buildWordTokenizer(["Osaka lies in Japan."]));
 * const config = {
 *   model_type: "llama", vocab_size: tokenizer.vocabSize, hidden_size: 8, intermediate_size: 16, num_hidden_layers: 1,
 *   num_attention_heads: 2, num_key_value_heads: 1, rope_theta: 10000, rms_norm_eps: 1e-6,
 *   tie_word_embeddings: true, max_position_embeddings: 32,
 * } as const;
 * const policy = { config, weights: initWeights(config, 1), tokenizer };
 *
 * const engine = await openEngine({ engine: "cpu" });
 * const scorer = new Scorer(engine);
 * const tokens = tokenizer.encode("Osaka lies in Japan");
 * const [logprobs] = await scorer.logprobs(policy, [{ tokens, mask: [0, 0, 0, 1] }], { batch: 1 });
 * assertEquals(logprobs!.map(Math.sign), [0, 0, 0, -1]); // nats, for the last token only
 * scorer.dispose();
 * tf.dispose(policy.weights);
 * engine.close();
 * ```
 */
export class Scorer {
  readonly #engine: Engine;
  readonly #steps = new Map<string, CompiledStep>();

  constructor(engine: Engine) {
    this.#engine = engine;
  }

  /**
   * The log-prob of each model token of each sequence; 0 where the mask is 0, so that a list is as long as its tokens.
   *
   * @param temperature Logits are divided by it first, as the sampler does.
   */
  async logprobs(
    policy: Policy,
    sequences: readonly Sequence[],
    { temperature = 1, batch = 32 }: { temperature?: number; batch?: number } = {},
  ): Promise<number[][]> {
    const step = this.#step(policy, `log-probs at ${temperature}`, (logits_BMV, { targets_BM }) => [
      tokenLogprobs(logits_BMV, targets_BM, temperature),
    ]);
    const out: number[][] = [];
    for (const indices of microBatches(sequences, batch)) {
      const part = indices.map((i) => sequences[i]!);
      const packed = packForEngine(part, { padTokenId: policy.tokenizer.padTokenId, rows: batch });
      const { tokens_BT, index_BM, targets_BM, mask_BM } = batchTensors(packed);
      const inputs = [tokens_BT, index_BM, targets_BM, mask_BM];
      const [logp_BM] = step(...tensorsOf(policy), ...inputs) as [tf.Tensor];
      const values = await logp_BM.data();
      tf.dispose([logp_BM, ...inputs]);
      part.forEach((sequence, row) => {
        let next = packed.starts[row]!;
        out[indices[row]!] = sequence.mask.map((m) => m === 1 ? values[next++]! : 0);
      });
    }
    return out;
  }

  /**
   * What a teacher says at the positions of a packed batch; the caller owns the tensors.
   *
   * @param inputs The batch's tokens, index, targets and mask; they are disposed here.
   */
  teacherTargets(
    policy: Policy,
    inputs: tf.Tensor[],
    { temperature, topK }: { temperature: number; topK: number },
  ): TeacherTargets {
    const step = this.#step(policy, `teacher at ${temperature}, top ${topK}`, (logits_BMV) => {
      const { logp, ids_BMK } = teacherTargets(logits_BMV, { temperature, topK });
      return ids_BMK ? [logp, ids_BMK] : [logp];
    });
    const [logp, ids_BMK] = step(...tensorsOf(policy), ...inputs) as tf.Tensor3D[];
    tf.dispose(inputs);
    return ids_BMK ? { logp: logp!, ids_BMK } : { logp: logp! };
  }

  /** Frees the compiled steps. */
  dispose(): void {
    for (const step of this.#steps.values()) step.dispose();
    this.#steps.clear();
  }

  #step(
    { config, weights, adapter }: Policy,
    name: string,
    head: (logits_BMV: tf.Tensor3D, batch: BatchTensors) => tf.Tensor[],
  ): CompiledStep {
    const key = `${name} ${adapter?.rank} ${adapter?.alpha}`;
    let step = this.#steps.get(key);
    if (!step) {
      const names = Object.keys(weights);
      const adapterNames = Object.keys(adapter?.weights ?? {});
      const scale = adapter && { rank: adapter.rank, alpha: adapter.alpha };
      step = this.#engine.compile(key, (...inputs) => {
        const named = (keys: string[], from: number) =>
          Object.fromEntries(keys.map((name, i) => [name, inputs[from + i]!]));
        const [tokens_BT, index_BM, targets_BM, mask_BM] = inputs.slice(names.length + adapterNames.length);
        const batch = { tokens_BT, index_BM, targets_BM, mask_BM } as BatchTensors;
        const loaded = scale && { ...scale, weights: named(adapterNames, names.length) };
        return head(modelLogits(config, named(names, 0), loaded, batch), batch);
      });
      this.#steps.set(key, step);
    }
    return step;
  }
}

function tensorsOf({ weights, adapter }: Policy): tf.Tensor[] {
  return [...Object.values(weights), ...Object.values(adapter?.weights ?? {})];
}
