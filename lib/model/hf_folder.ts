/**
 * A policy as a Hugging Face folder: `config.json`, `model.safetensors` (or shards with an index) and the tokenizer's
 * files, as `AutoModelForCausalLM.from_pretrained` reads it. An adapter stands in PEFT's layout in the folder `adapter`
 * within: beside the model, transformers would look for a base model elsewhere.
 *
 * @module
 */
import * as tf from "@tensorflow/tfjs";
import { exists, writeWhole } from "../base/files.ts";
import { InputError, nearestName } from "../base/input_error.ts";
import { loadAdapter, saveAdapter } from "./adapter.ts";
import { weightShapes } from "./decoder.ts";
import { configJson, parseConfig } from "./hf_config.ts";
import type { ModelConfig, Policy, Weights } from "./policy.ts";
import { readSafetensors, writeSafetensors } from "./safetensors.ts";
import { loadTokenizer } from "./tokenizer.ts";

const tokenizerFiles = ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja"];

/**
 * Writes a policy into a folder, in float32. The caller keeps the policy.
 *
 * @example
 * ```ts
 * import { buildWordTokenizer, initWeights, loadPolicy, loadTokenizer, savePolicy } from "@search-e1/kit";
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
 * const folder = await Deno.makeTempDir();
 * await savePolicy(folder, policy);
 * const loaded = await loadPolicy(folder);
 * assertEquals(Object.keys(loaded.weights), Object.keys(policy.weights));
 * tf.dispose([policy.weights, loaded.weights]);
 * await Deno.remove(folder, { recursive: true });
 * ```
 */
export async function savePolicy(
  folder: string,
  { config, weights, adapter, tokenizer }: Policy,
): Promise<void> {
  await Deno.mkdir(folder, { recursive: true });
  const tensors: Record<string, { shape: number[]; data: Float32Array }> = {};
  for (const name of Object.keys(weightShapes(config))) {
    const tensor = weights[name];
    if (!tensor) throw new Error(`Cannot save a policy without ${name}`);
    tensors[name] = { shape: tensor.shape, data: await tensor.data() as Float32Array };
  }
  await writeWhole(`${folder}/model.safetensors`, writeSafetensors(tensors, { format: "pt" }));
  for (const [name, content] of Object.entries(tokenizer.files)) {
    await writeWhole(`${folder}/${name}`, content);
  }
  if (adapter) await saveAdapter(`${folder}/adapter`, adapter);
  await writeWhole(`${folder}/config.json`, configJson(config));
}

/**
 * Reads a policy from a folder. Weights are widened to float32 and stand in the order of `weightShapes`.
 *
 * @throws {InputError} when a file is missing or broken, when the model is none that the kit can run exactly, and when a
 * weight is missing, unexpected or of another shape.
 *
 * @example
 * ```ts
 * import { buildWordTokenizer, initWeights, loadPolicy, loadTokenizer, savePolicy } from "@search-e1/kit";
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
 * const folder = await Deno.makeTempDir();
 * await savePolicy(folder, policy);
 * const loaded = await loadPolicy(folder);
 * assertEquals(loaded.config.hidden_size, 8);
 * assertEquals(loaded.tokenizer.encode("Osaka"), tokenizer.encode("Osaka"));
 * tf.dispose([policy.weights, loaded.weights]);
 * await Deno.remove(folder, { recursive: true });
 * ```
 */
export async function loadPolicy(folder: string): Promise<Policy> {
  const config = parseConfig(await readText(folder, "config.json"), `${folder}/config.json`);
  const files: Record<string, string> = {};
  for (const name of tokenizerFiles) {
    if (await exists(`${folder}/${name}`)) files[name] = await Deno.readTextFile(`${folder}/${name}`);
  }
  const tokenizer = loadTokenizer(files, folder);
  if (tokenizer.vocabSize > config.vocab_size) {
    throw new InputError(
      `Cannot load ${folder}: its tokenizer has ${tokenizer.vocabSize} ids, but vocab_size in config.json is ${config.vocab_size}`,
    );
  }
  const weights = await loadWeights(folder, config);
  if (!await exists(`${folder}/adapter/adapter_config.json`)) return { config, weights, tokenizer };
  try {
    return { config, weights, tokenizer, adapter: await loadAdapter(`${folder}/adapter`, config) };
  } catch (error) {
    tf.dispose(weights);
    throw error;
  }
}

async function loadWeights(folder: string, config: ModelConfig): Promise<Weights> {
  const shapes = weightShapes(config);
  const found: Weights = {};
  try {
    for (const file of await weightFiles(folder)) {
      const { tensors } = await readSafetensors(`${folder}/${file}`);
      for (const [name, { shape, data }] of Object.entries(tensors)) {
        if (isRedundant(name, config)) continue;
        const wanted = shapes[name];
        if (!wanted) {
          const nearest = nearestName(name, Object.keys(shapes));
          throw new InputError(
            `Cannot use ${folder}/${file}: this ${config.model_type} model has no weight ${name}` +
              (nearest ? `; the nearest is ${nearest}` : ""),
          );
        }
        if (wanted.join() !== shape.join()) {
          throw new InputError(
            `Cannot use ${folder}/${file}: ${name} has shape [${shape}], config.json asks for [${wanted}]`,
          );
        }
        if (found[name]) {
          throw new InputError(`Cannot use ${folder}/${file}: ${name} is in another shard as well`);
        }
        found[name] = tf.tensor(
          data instanceof Float32Array ? data : Float32Array.from(data),
          shape,
          "float32",
        );
      }
    }
    const missing = Object.keys(shapes).filter((name) => !found[name]);
    if (missing.length > 0) {
      const more = missing.length > 1 ? ` and ${missing.length - 1} more` : "";
      throw new InputError(
        `Cannot load ${folder}: weight ${missing[0]}${more} is missing from its safetensors files`,
      );
    }
  } catch (error) {
    tf.dispose(found);
    throw error;
  }
  return Object.fromEntries(Object.keys(shapes).map((name) => [name, found[name]!]));
}

/** Stored by some exporters, but computed from something else: rotary frequencies, and the output matrix where it is tied. */
function isRedundant(name: string, config: ModelConfig): boolean {
  return name.endsWith(".rotary_emb.inv_freq") || (config.tie_word_embeddings && name === "lm_head.weight");
}

/** `model.safetensors`, or the shards that its index names. */
async function weightFiles(folder: string): Promise<string[]> {
  if (await exists(`${folder}/model.safetensors`)) return ["model.safetensors"];
  const index = "model.safetensors.index.json";
  if (!await exists(`${folder}/${index}`)) {
    throw new InputError(
      `Cannot load ${folder}: it has neither model.safetensors nor ${index}; save the model with safe_serialization`,
    );
  }
  try {
    const { weight_map } = JSON.parse(await Deno.readTextFile(`${folder}/${index}`));
    return [...new Set(Object.values<string>(weight_map))].sort();
  } catch (error) {
    throw new InputError(`Cannot parse ${folder}/${index}: ${(error as Error).message}`);
  }
}

async function readText(folder: string, name: string): Promise<string> {
  try {
    return await Deno.readTextFile(`${folder}/${name}`);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    throw new InputError(
      `Cannot load ${folder}: ${name} is missing; name a folder that holds a Hugging Face model`,
    );
  }
}
