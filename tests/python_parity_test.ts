/** Folders that the kit writes, read by transformers, safetensors and peft themselves. */
import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import * as tf from "@tensorflow/tfjs";
import { initAdapter } from "../lib/model/adapter.ts";
import { hiddenStates, initWeights, outputLogits } from "../lib/model/decoder.ts";
import { savePolicy } from "../lib/model/hf_folder.ts";
import type { Adapter, ModelConfig, Policy } from "../lib/model/policy.ts";
import { loadTokenizer } from "../lib/model/tokenizer.ts";
import { buildWordTokenizer } from "../lib/world/world_tokenizer.ts";
import { pythonWith } from "./python.ts";
import { tinyConfig } from "./tiny_policy.ts";

const rows = [[5, 9, 3, 17, 20, 8, 2, 11], [4, 22, 6]];
const text = "<search>Osaka Japan</search>";
const script = decodeURIComponent(new URL("fixtures/check_folders.py", import.meta.url).pathname);

const configs: Record<string, Partial<ModelConfig>> = {
  "qwen2, tied": { rope_theta: 1e6 },
  "llama, untied, head width of its own": { model_type: "llama", tie_word_embeddings: false, head_dim: 6 },
  "llama with attention bias": { model_type: "llama", attention_bias: true },
};

function logits({ config, weights }: Policy, adapter: Adapter | undefined): number[][] {
  return rows.map((row) =>
    tf.tidy(() => {
      const hidden_BTD = hiddenStates(config, weights, adapter, tf.tensor2d([row], undefined, "int32"));
      const hidden_ND = tf.reshape(hidden_BTD, [row.length, config.hidden_size]) as tf.Tensor2D;
      return [...outputLogits(config, weights, adapter, hidden_ND).dataSync()];
    })
  );
}

function assertClose(actual: number[][], expected: number[][]): void {
  expected.forEach((row, i) => row.forEach((x, j) => assertAlmostEquals(actual[i]![j]!, x, 1e-4)));
}

/** A policy whose adapter changes something: B is zero in a fresh one. */
function policyOf(change: Partial<ModelConfig>): Policy & { adapter: Adapter } {
  const tokenizer = loadTokenizer(buildWordTokenizer(["Osaka lies in Japan."]));
  const config = { ...tinyConfig, vocab_size: tokenizer.vocabSize, eos_token_id: 1, ...change };
  const adapter = initAdapter(config, { rank: 2, alpha: 6 }, 1);
  for (const [key, tensor] of Object.entries(adapter.weights)) {
    if (key.endsWith("lora_B")) {
      adapter.weights[key] = tf.sin(tf.reshape(tf.range(0, tensor.size), tensor.shape));
    }
  }
  return { config, weights: initWeights(config, 1), adapter, tokenizer };
}

Deno.test("AutoModelForCausalLM.from_pretrained() gives the kit's logits within 1e-4, and peft the adapter's", async (t) => {
  const python = await pythonWith("torch", "transformers", "safetensors", "peft");
  if (!python) return;
  await tf.setBackend("cpu");
  const parent = await Deno.makeTempDir();
  const policies = Object.values(configs).map(policyOf);
  const folders = policies.map((_, i) => `${parent}/${i}`);
  for (const [i, folder] of folders.entries()) await savePolicy(folder, policies[i]!);
  const { success, stdout, stderr } = await new Deno.Command(python, {
    args: [script, JSON.stringify(rows), text, ...folders],
    env: { HF_HUB_OFFLINE: "1" },
  }).output();
  assert(success, new TextDecoder().decode(stderr));
  const all = JSON.parse(new TextDecoder().decode(stdout).trim().split("\n").at(-1)!);
  for (const [i, name] of Object.keys(configs).entries()) {
    await t.step(name, () => {
      const [policy, seen] = [policies[i]!, all[i]];
      const { config, tokenizer, adapter } = policy;
      assertEquals(seen.class, config.model_type === "qwen2" ? "Qwen2ForCausalLM" : "LlamaForCausalLM");
      assertEquals(seen.dtype, "torch.float32");
      assertEquals(seen.metadata, { format: "pt" });
      // For Qwen2, transformers 5 puts a tokenizer of its own in the place of the folder's.
      if (config.model_type === "llama") assertEquals(seen.ids, tokenizer.encode(text));
      assertClose(logits(policy, undefined), seen.logits);
      assertClose(logits(policy, adapter), seen.adapted);
      tf.dispose([policy.weights, adapter.weights]);
    });
  }
  await Deno.remove(parent, { recursive: true });
});
