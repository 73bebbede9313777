import type * as tf from "@tensorflow/tfjs";

/** The fields of a Hugging Face `config.json` that a Qwen2 or Llama decoder needs; names are Hugging Face's. */
export interface ModelConfig {
  /** `qwen2` has biases on the q, k and v projections, `llama` has none unless `attention_bias` is set. */
  model_type: "qwen2" | "llama";
  vocab_size: number;
  hidden_size: number;
  intermediate_size: number;
  num_hidden_layers: number;
  num_attention_heads: number;
  num_key_value_heads: number;
  /** `hidden_size / num_attention_heads` when left out. */
  head_dim?: number;
  rope_theta: number;
  rms_norm_eps: number;
  tie_word_embeddings: boolean;
  max_position_embeddings: number;
  attention_bias?: boolean;
  /** Standard deviation of freshly drawn weights; .02 when left out. */
  initializer_range?: number;
  bos_token_id?: number;
  eos_token_id?: number | number[];
  pad_token_id?: number;
}

/** Weights by their Hugging Face names (`model.layers.0.self_attn.q_proj.weight` …), float32; a linear weight is [out, in]. */
export type Weights = Record<string, tf.Tensor>;

/** A LoRA adapter (arXiv 2106.09685): for a linear weight W [out, in] the effective weight is W + (alpha / rank) · B A. */
export interface Adapter {
  rank: number;
  alpha: number;
  /** `<linear name without .weight>.lora_A` [rank, in] and `.lora_B` [out, rank], float32. */
  weights: Weights;
}

/** Text to token ids and back. No special tokens are added by `encode`. */
export interface Tokenizer {
  readonly vocabSize: number;
  readonly eosTokenId: number | undefined;
  readonly padTokenId: number;
  encode(text: string): number[];
  decode(ids: readonly number[]): string;
  /** The chat template, where the tokenizer has one: messages in, prompt text with the generation prompt out. */
  applyChatTemplate?(messages: readonly ChatMessage[]): string;
  /** What a checkpoint stores: file name → content (`tokenizer.json`, `tokenizer_config.json`). */
  readonly files: Readonly<Record<string, string>>;
}

/** One message of a chat prompt. */
export interface ChatMessage {
  role: "system" | "user" | "assistant";
  content: string;
}

/** What acts: weights, an optional adapter, and a tokenizer. Functions take it; it never trains itself. */
export interface Policy {
  config: ModelConfig;
  weights: Weights;
  adapter?: Adapter;
  tokenizer: Tokenizer;
}
