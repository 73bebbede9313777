/**
 * What OFSD sees at every single token: the divergence between teacher and student, and what each of them would have said
 * there. It trains nothing; the report and the notebooks draw it.
 *
 * @module
 */
import * as tf from "@tensorflow/tfjs";
import type { Policy } from "../model/policy.ts";
import { modelLogits } from "../model/scoring.ts";
import { batchTensors, packBatch, type Sequence } from "./batch.ts";
import { divergence } from "./divergence.ts";
import { type OfsdOptions, teacherTargets } from "./ofsd.ts";
import type { PrivilegedPair } from "./privileged_context.ts";

/** Likeliest tokens and their probabilities, falling. */
export type Alternatives = [id: number, probability: number][];

/** Figures of one student sequence, each list as long as its tokens. */
export interface TokenDivergence {
  /** Divergence in nats; null where the mask is 0. */
  kl: (number | null)[];
  /** What the teacher would have said; empty where the mask is 0. */
  teacher: Alternatives[];
  /** What the student would have said; empty where the mask is 0. */
  student: Alternatives[];
}

/**
 * The divergence of every distilled token, unclipped, and the likeliest tokens of both sides.
 *
 * @param options.direction As in `ofsdLoss`; `forward` when left out.
 * @param options.teacherTemperature The teacher's logits are divided by it; 1 when left out.
 * @param options.alternatives How many of the likeliest tokens are kept; 5 when left out.
 * @param options.batch Pairs a forward pass.
 *
 * @example
 * ```ts
 * import { buildWordTokenizer, initWeights, loadTokenizer, privilegedPair, tokenDivergence } from "@search-e1/kit";
 * import { assert, assertEquals } from "@std/assert";
 * import * as tf from "@tensorflow/tfjs";
 *
 * await tf.setBackend("cpu");
 * const tokenizer = loadTokenizer(buildWordTokenizer(["Osaka lies in Japan."]));
 * const config = {
 *   model_type: "llama", vocab_size: tokenizer.vocabSize, hidden_size: 8, intermediate_size: 16, num_hidden_layers: 1,
 *   num_attention_heads: 2, num_key_value_heads: 1, rope_theta: 10000, rms_norm_eps: 1e-6,
 *   tie_word_embeddings: true, max_position_embeddings: 32,
 * } as const;
 * const policy = { config, weights: initWeights(config, 1), tokenizer };
 * const y = { tokens: tokenizer.encode("Osaka lies in Japan"), promptLength: 1, mask: [0, 0, 0, 1] };
 *
 * const [same, hinted] = await tokenDivergence(policy, policy, [
 *   privilegedPair(y, []),
 *   privilegedPair(y, tokenizer.encode("Japan")),
 * ], { alternatives: 2 });
 * assertEquals(same!.kl, [null, null, null, 0]); // without privilege teacher and student are one
 * assert(hinted!.kl[3]! > 0);
 * assertEquals(hinted!.teacher[3]!.length, 2);
 * tf.dispose(policy.weights);
 * ```
 */
export async function tokenDivergence(
  teacher: Policy,
  student: Policy,
  pairs: readonly PrivilegedPair[],
  { direction = "forward", jsdBeta = 0.5, teacherTemperature = 1, alternatives = 5, batch = 16 }:
    & Partial<Pick<OfsdOptions, "direction" | "jsdBeta">>
    & { teacherTemperature?: number; alternatives?: number; batch?: number } = {},
): Promise<TokenDivergence[]> {
  const out: TokenDivergence[] = [];
  const count = Math.min(alternatives, student.config.vocab_size);
  for (let start = 0; start < pairs.length; start += batch) {
    const part = pairs.slice(start, start + batch);
    const tensors = tf.tidy(() => {
      const [teacherLogits_BMV, studentLogits_BMV] = [
        logitsOf(teacher, part.map((pair) => pair.teacher)),
        logitsOf(student, part.map((pair) => pair.student)),
      ];
      const options = { direction, jsdBeta, clip: "off", tau: 0 } as const;
      const targets = teacherTargets(teacherLogits_BMV, { temperature: teacherTemperature });
      const { raw_BM } = divergence(targets, studentLogits_BMV, options);
      const likeliest = [tf.exp(targets.logp), tf.softmax(studentLogits_BMV)].flatMap((p_BMV) => {
        const { values, indices } = tf.topk(p_BMV, count);
        return [values, indices];
      });
      return [raw_BM, ...likeliest];
    });
    const [kl, teacherP, teacherIds, studentP, studentIds] = await Promise.all(
      tensors.map((tensor) => tensor.data()),
    );
    const M = tensors[0]!.shape[1]!;
    tf.dispose(tensors);
    part.forEach(({ student: { mask } }, row) => {
      let next = row * M;
      const at = mask.map((m) => m === 1 ? next++ : -1);
      const listed = (p: ArrayLike<number>, ids: ArrayLike<number>) =>
        at.map((i): Alternatives =>
          i < 0 ? [] : Array.from({ length: count }, (_, k) => [ids[i * count + k]!, p[i * count + k]!])
        );
      out.push({
        kl: at.map((i) => i < 0 ? null : kl![i]!),
        teacher: listed(teacherP!, teacherIds!),
        student: listed(studentP!, studentIds!),
      });
    });
  }
  return out;
}

/** Logits [B, M, V] that predict the tokens which the masks ask for. */
function logitsOf({ config, weights, adapter, tokenizer }: Policy, sequences: Sequence[]): tf.Tensor3D {
  return tf.tidy(() =>
    modelLogits(
      config,
      weights,
      adapter,
      batchTensors(packBatch(sequences, { padTokenId: tokenizer.padTokenId })),
    )
  );
}
