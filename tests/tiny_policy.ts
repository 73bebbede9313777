/** A policy of a few thousand weights whose tokens are letters, for tests. */
import { initWeights } from "../lib/model/decoder.ts";
import type { ModelConfig, Policy, Tokenizer } from "../lib/model/policy.ts";

/** Two layers, grouped-query attention, weights large enough for token probabilities to differ. */
export const tinyConfig: ModelConfig = {
  model_type: "qwen2",
  vocab_size: 30,
  hidden_size: 16,
  intermediate_size: 24,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  rope_theta: 10000,
  rms_norm_eps: 1e-6,
  tie_word_embeddings: true,
  max_position_embeddings: 128,
  initializer_range: 0.3,
};

/** Token i is the i-th character from "A" on; "B" ends a text. */
export const letters: Tokenizer = {
  vocabSize: 30,
  eosTokenId: 1,
  padTokenId: 0,
  encode: (text) => Array.from(text, (character) => character.charCodeAt(0) - 65),
  decode: (ids) => String.fromCharCode(...ids.map((id) => id + 65)),
  files: {},
};

/** A policy with the weights of a seed; its tensors belong to the caller. */
export function tinyPolicy(seed = 1, config: Partial<ModelConfig> = {}): Policy {
  const full = { ...tinyConfig, ...config };
  return { config: full, weights: initWeights(full, seed), tokenizer: letters };
}
