/** Policies of a few words: one that writes what a test wants, and one that writes anything. */
import * as tf from "@tensorflow/tfjs";
import { initWeights } from "../lib/model/decoder.ts";
import type { ModelConfig, Policy } from "../lib/model/policy.ts";
import { loadTokenizer } from "../lib/model/tokenizer.ts";
import { buildWordTokenizer } from "../lib/world/world_tokenizer.ts";

/**
 * A real decoder whose attention and feed-forward add nothing: the hidden state is the last token's one-hot, and the output
 * layer maps it to its successor with certainty.
 *
 * @param next Pieces (words, tags, "\n", "\n\n") and what follows them; what follows others is left open.
 * @param texts What else the tokenizer must know.
 */
export function chainPolicy(next: Record<string, string>, texts: string[] = []): Policy {
  const tokenizer = loadTokenizer(buildWordTokenizer([...Object.entries(next).flat(), ...texts]));
  const V = tokenizer.vocabSize;
  const D = V + V % 2;
  const config: ModelConfig = {
    model_type: "llama",
    vocab_size: V,
    hidden_size: D,
    intermediate_size: 2,
    num_hidden_layers: 1,
    num_attention_heads: 1,
    num_key_value_heads: 1,
    rope_theta: 10000,
    rms_norm_eps: 1e-6,
    tie_word_embeddings: false,
    max_position_embeddings: 256,
  };
  const weights = initWeights(config, 1);
  const replace = (name: string, tensor: tf.Tensor) => {
    weights[name]!.dispose();
    weights[name] = tensor;
  };
  for (const name of ["self_attn.o_proj", "mlp.down_proj"].map((part) => `model.layers.0.${part}.weight`)) {
    replace(name, tf.zerosLike(weights[name]!));
  }
  const id = (piece: string) => {
    const ids = tokenizer.encode(piece);
    if (ids.length !== 1) throw new Error(`Cannot chain "${piece}": it is ${ids.length} tokens`);
    return ids[0]!;
  };
  const [one, output] = [tf.buffer([V, D]), tf.buffer([V, D])];
  for (let token = 0; token < V; token++) one.set(1, token, token);
  for (const [piece, follower] of Object.entries(next)) output.set(50, id(follower), id(piece));
  replace("model.embed_tokens.weight", one.toTensor());
  replace("lm_head.weight", output.toTensor());
  return { config, weights, tokenizer };
}

/** Random weights over the words of `texts`: tags, words and nonsense all occur. */
export function randomPolicy(seed: number, texts: string[]): Policy {
  const tokenizer = loadTokenizer(buildWordTokenizer(texts));
  const config: ModelConfig = {
    model_type: "qwen2",
    vocab_size: tokenizer.vocabSize,
    hidden_size: 8,
    intermediate_size: 8,
    num_hidden_layers: 1,
    num_attention_heads: 2,
    num_key_value_heads: 1,
    rope_theta: 10000,
    rms_norm_eps: 1e-6,
    tie_word_embeddings: true,
    max_position_embeddings: 200,
    initializer_range: 1,
  };
  return { config, weights: initWeights(config, seed), tokenizer };
}
