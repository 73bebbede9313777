/**
 * LoRA adapters (arXiv 2106.09685) on all linear layers of the decoder blocks: fresh, merged, and in PEFT's files. An
 * adapter is switched off by not passing it.
 *
 * @module
 */
import * as tf from "@tensorflow/tfjs";
import { writeWhole } from "../base/files.ts";
import { InputError } from "../base/input_error.ts";
import { randomStream } from "../base/random.ts";
import { effectiveWeight, linearNames, weightShapes } from "./decoder.ts";
import type { Adapter, ModelConfig, Weights } from "./policy.ts";
import { readSafetensors, writeSafetensors } from "./safetensors.ts";

/**
 * A fresh adapter on all linear layers: A from U(−1/√in, 1/√in), B zero, so that it changes nothing yet.
 *
 * @param alpha The update is scaled by alpha / rank.
 *
 * @example
 * ```ts
 * import { initAdapter } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 * import * as tf from "@tensorflow/tfjs";
 *
 * const config = {
 *   model_type: "llama", vocab_size: 12, hidden_size: 8, intermediate_size: 16, num_hidden_layers: 1,
 *   num_attention_heads: 2, num_key_value_heads: 1, rope_theta: 10000, rms_norm_eps: 1e-6,
 *   tie_word_embeddings: true, max_position_embeddings: 32,
 * } as const;
 * const adapter = initAdapter(config, { rank: 2, alpha: 4 }, 1);
 * assertEquals(adapter.weights["model.layers.0.self_attn.k_proj.lora_B"]!.shape, [4, 2]);
 * tf.dispose(adapter.weights);
 * ```
 */
export function initAdapter(
  config: ModelConfig,
  { rank, alpha }: { rank: number; alpha: number },
  seed: number,
): Adapter {
  const shapes = weightShapes(config);
  const weights: Weights = {};
  for (const name of linearNames(config)) {
    const [out, width] = shapes[`${name}.weight`] as [number, number];
    // Kaiming-uniform with a = √5, as the reference implementation draws it, has the bound 1/√in.
    const [uniform, bound] = [randomStream(seed, "adapter", name), width ** -0.5];
    const a = Float32Array.from({ length: rank * width }, () => (2 * uniform() - 1) * bound);
    weights[`${name}.lora_A`] = tf.tensor(a, [rank, width], "float32");
    weights[`${name}.lora_B`] = tf.zeros([out, rank]);
  }
  return { rank, alpha, weights };
}

/**
 * All weights with the adapter added in, as new tensors: those that were given stay as they are.
 *
 * @example
 * ```ts
 * import { initAdapter, initWeights, mergeAdapter } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 * import * as tf from "@tensorflow/tfjs";
 *
 * const config = {
 *   model_type: "llama", vocab_size: 12, hidden_size: 8, intermediate_size: 16, num_hidden_layers: 1,
 *   num_attention_heads: 2, num_key_value_heads: 1, rope_theta: 10000, rms_norm_eps: 1e-6,
 *   tie_word_embeddings: true, max_position_embeddings: 32,
 * } as const;
 * const weights = initWeights(config, 1);
 * const adapter = initAdapter(config, { rank: 2, alpha: 4 }, 1);
 * const merged = mergeAdapter(config, weights, adapter);
 * assertEquals(Object.keys(merged), Object.keys(weights));
 * tf.dispose([weights, adapter.weights, merged]);
 * ```
 */
export function mergeAdapter(config: ModelConfig, weights: Weights, adapter: Adapter): Weights {
  return tf.tidy(() => {
    const merged: Weights = {};
    for (const [name, tensor] of Object.entries(weights)) merged[name] = tensor.clone();
    for (const name of linearNames(config)) {
      merged[`${name}.weight`] = effectiveWeight(weights, adapter, name).clone();
    }
    return merged;
  });
}

const namePrefix = "base_model.model.";

/**
 * Writes an adapter in PEFT's layout: `adapter_config.json` and `adapter_model.safetensors`.
 *
 * @example
 * ```ts
 * import { initAdapter, loadAdapter, saveAdapter } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * const config = {
 *   model_type: "llama", vocab_size: 12, hidden_size: 8, intermediate_size: 16, num_hidden_layers: 1,
 *   num_attention_heads: 2, num_key_value_heads: 1, rope_theta: 10000, rms_norm_eps: 1e-6,
 *   tie_word_embeddings: true, max_position_embeddings: 32,
 * } as const;
 * const folder = await Deno.makeTempDir();
 * const adapter = initAdapter(config, { rank: 2, alpha: 4 }, 1);
 * await saveAdapter(folder, adapter);
 * assertEquals((await loadAdapter(folder, config)).alpha, 4);
 * await Deno.remove(folder, { recursive: true });
 * ```
 */
export async function saveAdapter(folder: string, { rank, alpha, weights }: Adapter): Promise<void> {
  await Deno.mkdir(folder, { recursive: true });
  const tensors: Record<string, { shape: number[]; data: Float32Array }> = {};
  for (const [name, tensor] of Object.entries(weights)) {
    tensors[`${namePrefix}${name}.weight`] = {
      shape: tensor.shape,
      data: await tensor.data() as Float32Array,
    };
  }
  const modules = Object.keys(weights).map((name) => name.split(".").at(-2)!);
  const config = {
    peft_type: "LORA",
    task_type: "CAUSAL_LM",
    base_model_name_or_path: null,
    r: rank,
    lora_alpha: alpha,
    lora_dropout: 0,
    bias: "none",
    fan_in_fan_out: false,
    inference_mode: true,
    target_modules: [...new Set(modules)].sort(),
  };
  await writeWhole(`${folder}/adapter_model.safetensors`, writeSafetensors(tensors, { format: "pt" }));
  await writeWhole(`${folder}/adapter_config.json`, JSON.stringify(config, null, 2) + "\n");
}

/**
 * Reads an adapter in PEFT's layout.
 *
 * @throws {InputError} when it is no plain LoRA adapter for this model.
 *
 * @example
 * ```ts
 * import { initAdapter, loadAdapter, saveAdapter } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 * import * as tf from "@tensorflow/tfjs";
 *
 * const config = {
 *   model_type: "llama", vocab_size: 12, hidden_size: 8, intermediate_size: 16, num_hidden_layers: 1,
 *   num_attention_heads: 2, num_key_value_heads: 1, rope_theta: 10000, rms_norm_eps: 1e-6,
 *   tie_word_embeddings: true, max_position_embeddings: 32,
 * } as const;
 * const adapter = initAdapter(config, { rank: 2, alpha: 4 }, 1);
 * const folder = await Deno.makeTempDir();
 * await saveAdapter(folder, adapter);
 * const loaded = await loadAdapter(folder, config);
 * assertEquals([loaded.rank, Object.keys(loaded.weights)], [2, Object.keys(adapter.weights)]);
 * tf.dispose([adapter.weights, loaded.weights]);
 * await Deno.remove(folder, { recursive: true });
 * ```
 */
export async function loadAdapter(folder: string, config: ModelConfig): Promise<Adapter> {
  const path = `${folder}/adapter_config.json`;
  let settings: Record<string, unknown>;
  try {
    settings = JSON.parse(await Deno.readTextFile(path));
  } catch (error) {
    throw new InputError(
      `Cannot read ${path}: ${(error as Error).message}; name a folder that holds a PEFT adapter`,
    );
  }
  const { r: rank, lora_alpha: alpha } = settings;
  if (settings.peft_type !== "LORA" || typeof rank !== "number" || typeof alpha !== "number") {
    throw new InputError(`Cannot read ${path}: it needs peft_type "LORA" and the numbers r and lora_alpha`);
  }
  for (
    const key of [
      "use_rslora",
      "use_dora",
      "fan_in_fan_out",
      "modules_to_save",
      "rank_pattern",
      "alpha_pattern",
    ]
  ) {
    const value = settings[key];
    if (value && Object.keys(value).length + Number(value === true) > 0) {
      throw new InputError(
        `Cannot use the adapter of ${path}: ${key} is ${JSON.stringify(value)}, which is not supported`,
      );
    }
  }
  const file = `${folder}/adapter_model.safetensors`;
  const { tensors } = await readSafetensors(file);
  const shapes = weightShapes(config);
  const expected = new Map<string, number[]>();
  for (const name of linearNames(config)) {
    const [out, width] = shapes[`${name}.weight`] as [number, number];
    expected.set(`${name}.lora_A`, [rank, width]).set(`${name}.lora_B`, [out, rank]);
  }
  const weights: Weights = {};
  try {
    for (const [stored, { shape, data }] of Object.entries(tensors)) {
      const name = stored.replace(namePrefix, "").replace(/\.weight$/, "");
      const wanted = expected.get(name);
      if (!wanted) {
        throw new InputError(`Cannot use ${file}: ${stored} belongs to no linear layer of this model`);
      }
      if (wanted.join() !== shape.join()) {
        throw new InputError(
          `Cannot use ${file}: ${stored} has shape [${shape}], this model needs [${wanted}]`,
        );
      }
      weights[name] = tf.tensor(data as Float32Array, shape, "float32");
    }
    for (const name of Object.keys(weights)) {
      const other = name.endsWith("A") ? `${name.slice(0, -1)}B` : `${name.slice(0, -1)}A`;
      if (!weights[other]) throw new InputError(`Cannot use ${file}: it has ${name} without ${other}`);
    }
  } catch (error) {
    tf.dispose(weights);
    throw error;
  }
  // One order for saved and fresh adapters: optimiser and compiled steps go by it.
  const ordered = [...expected.keys()].filter((name) => weights[name]);
  return { rank, alpha, weights: Object.fromEntries(ordered.map((name) => [name, weights[name]!])) };
}
