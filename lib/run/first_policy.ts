import * as tf from "@tensorflow/tfjs";
import { InputError } from "../base/input_error.ts";
import { mergeAdapter } from "../model/adapter.ts";
import { loadPolicy } from "../model/hf_folder.ts";
import { initWeights } from "../model/decoder.ts";
import type { ModelConfig, Policy } from "../model/policy.ts";
import { loadTokenizer } from "../model/tokenizer.ts";
import { buildWordTokenizer } from "../world/world_tokenizer.ts";
import type { Config } from "./config.ts";
import { disposePolicy } from "./run.ts";
import type { RunData } from "./run_data.ts";

/**
 * The policy that a run begins with: the folder that the config names, or a fresh model of its sizes with a tokenizer from
 * a folder or of the world's whole words.
 *
 * @throws {InputError} for a folder that does not hold what it should, and for contexts longer than its model takes.
 */
export async function firstPolicy(config: Config, data: RunData): Promise<Policy> {
  const { model } = config;
  if (model.path !== "") {
    const policy = await loadPolicy(model.path);
    const { max_position_embeddings: positions } = policy.config;
    if (config.agent.max_context_tokens > positions) {
      disposePolicy(policy);
      throw new InputError(
        `Cannot use model.path = "${model.path}": it has ${positions} positions (max_position_embeddings), but ` +
          `agent.max_context_tokens = ${config.agent.max_context_tokens}; lower that`,
      );
    }
    return merged(policy);
  }
  const files = model.tokenizer === ""
    ? buildWordTokenizer([
      ...data.texts(),
      config.agent.instruction.replace("{question}", ""),
      config.agent.notice,
    ])
    : await tokenizerFiles(model.tokenizer);
  const tokenizer = loadTokenizer(files);
  const modelConfig: ModelConfig = {
    model_type: model.model_type,
    vocab_size: tokenizer.vocabSize,
    hidden_size: model.hidden_size,
    intermediate_size: model.intermediate_size,
    num_hidden_layers: model.layers,
    num_attention_heads: model.heads,
    num_key_value_heads: model.kv_heads,
    rope_theta: model.rope_theta,
    rms_norm_eps: model.rms_norm_eps,
    tie_word_embeddings: model.tie_word_embeddings,
    max_position_embeddings: model.max_position_embeddings,
    initializer_range: model.initializer_range,
    pad_token_id: tokenizer.padTokenId,
    ...(tokenizer.eosTokenId === undefined ? {} : { eos_token_id: tokenizer.eosTokenId }),
  };
  return { config: modelConfig, weights: initWeights(modelConfig, config.seed), tokenizer };
}

/** The policy with its adapter, where the folder brings one, merged into the weights: every stage trains what it says. */
function merged({ config, weights, adapter, tokenizer }: Policy): Policy {
  if (!adapter) return { config, weights, tokenizer };
  const whole = mergeAdapter(config, weights, adapter);
  tf.dispose([weights, adapter.weights]);
  return { config, weights: whole, tokenizer };
}

async function tokenizerFiles(folder: string): Promise<Record<string, string>> {
  const files: Record<string, string> = {};
  for (const name of ["tokenizer.json", "tokenizer_config.json"]) {
    try {
      files[name] = await Deno.readTextFile(`${folder}/${name}`);
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
      throw new InputError(`Cannot load model.tokenizer = "${folder}": ${name} is missing in it`);
    }
  }
  return files;
}
