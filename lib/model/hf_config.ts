/** `config.json` of a Hugging Face folder. @module */
import { InputError } from "../base/input_error.ts";
import type { ModelConfig } from "./policy.ts";

const architectures = { qwen2: "Qwen2ForCausalLM", llama: "LlamaForCausalLM" };

/**
 * The text of a `config.json` that transformers reads: the fields of `config` and those that tell it what the decoder does.
 */
export function configJson(config: ModelConfig): string {
  const { head_dim = config.hidden_size / config.num_attention_heads, ...rest } = config;
  const stored = {
    architectures: [architectures[config.model_type]],
    ...rest,
    head_dim, // in one place, whether it was given or not: a config that was read is written as the same text
    hidden_act: "silu",
    torch_dtype: "float32",
    ...(config.model_type === "qwen2" ? { use_sliding_window: false } : { mlp_bias: false }),
  };
  return JSON.stringify(stored, null, 2) + "\n";
}

/**
 * Reads the text of a `config.json`.
 *
 * @param path Named in errors.
 * @throws {InputError} when a field is missing or says that the model does something that the decoder does not.
 */
export function parseConfig(text: string, path: string): ModelConfig {
  let json: Record<string, unknown>;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw new InputError(`Cannot parse ${path}: ${(error as Error).message}`);
  }
  const refuse = (key: string, supported: string) => {
    throw new InputError(
      `Cannot use ${path}: ${key} is ${JSON.stringify(json[key])}; supported is ${supported}`,
    );
  };
  const model_type = json.model_type;
  if (model_type !== "qwen2" && model_type !== "llama") {
    return refuse("model_type", `"qwen2" or "llama"`) as never;
  }
  const wanted = architectures[model_type];
  if (json.architectures && (json.architectures as string[])[0] !== wanted) {
    refuse("architectures", `["${wanted}"]`);
  }
  if ((json.hidden_act ?? "silu") !== "silu") refuse("hidden_act", `"silu"`);
  if (json.use_sliding_window === true) refuse("use_sliding_window", "false");
  if (json.mlp_bias === true) refuse("mlp_bias", "false");
  if (json.quantization_config) refuse("quantization_config", "no quantization");

  // transformers 5 keeps the base of the rotary embedding in rope_parameters, earlier ones beside rope_scaling.
  for (const key of ["rope_scaling", "rope_parameters"]) {
    const rope = json[key] as Record<string, unknown> | null | undefined;
    if (rope && (rope.rope_type ?? rope.type ?? "default") !== "default") {
      refuse(key, "the default rotary embedding");
    }
  }
  const rope = { ...json.rope_parameters as object, ...json };
  const count = (key: string, source: Record<string, unknown> = json): number => {
    const value = source[key];
    if (typeof value !== "number" || !(value > 0)) {
      throw new InputError(
        `Cannot use ${path}: ${key} is ${JSON.stringify(value)}; it must be a number above 0`,
      );
    }
    return value;
  };
  const config: ModelConfig = {
    model_type,
    vocab_size: count("vocab_size"),
    hidden_size: count("hidden_size"),
    intermediate_size: count("intermediate_size"),
    num_hidden_layers: count("num_hidden_layers"),
    num_attention_heads: count("num_attention_heads"),
    num_key_value_heads: count("num_key_value_heads", {
      num_key_value_heads: json.num_attention_heads,
      ...json,
    }),
    rope_theta: count("rope_theta", { rope_theta: 10000, ...rope }),
    rms_norm_eps: count("rms_norm_eps", { rms_norm_eps: 1e-6, ...json }),
    tie_word_embeddings: json.tie_word_embeddings === true,
    max_position_embeddings: count("max_position_embeddings"),
    ...(json.attention_bias === true ? { attention_bias: true } : {}),
  };
  for (const key of ["head_dim", "initializer_range", "bos_token_id", "pad_token_id"] as const) {
    if (typeof json[key] === "number") config[key] = json[key];
  }
  const eos = json.eos_token_id;
  if (typeof eos === "number" || Array.isArray(eos)) config.eos_token_id = eos;
  if (config.num_attention_heads % config.num_key_value_heads !== 0) {
    refuse("num_key_value_heads", `a divisor of num_attention_heads, ${config.num_attention_heads}`);
  }
  const width = config.head_dim ?? config.hidden_size / config.num_attention_heads;
  if (!Number.isInteger(width) || width % 2 !== 0) {
    throw new InputError(
      `Cannot use ${path}: heads of width ${width} (head_dim, or hidden_size / num_attention_heads) have no rotary ` +
        `embedding; the width must be even`,
    );
  }
  return config;
}
