import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import * as tf from "@tensorflow/tfjs";
import { tinyConfig } from "../../tests/tiny_policy.ts";
import { InputError } from "../base/input_error.ts";
import { assertNoLeak } from "../engine/leaks.ts";
import { initAdapter } from "./adapter.ts";
import { configJson, parseConfig } from "./hf_config.ts";
import { loadPolicy, savePolicy } from "./hf_folder.ts";
import { readSafetensors, writeSafetensors } from "./safetensors.ts";

const fixtures = decodeURIComponent(new URL("../../tests/fixtures/models/", import.meta.url).pathname);

/** A copy of a fixture's folder, without those below it. */
async function copied(name: string): Promise<string> {
  const folder = await Deno.makeTempDir();
  for await (const entry of Deno.readDir(fixtures + name)) {
    if (entry.isFile) await Deno.copyFile(`${fixtures}${name}/${entry.name}`, `${folder}/${entry.name}`);
  }
  return folder;
}

Deno.test("loadPolicy() reads what savePolicy() wrote, the adapter too, and leaves nothing behind", async () => {
  await tf.setBackend("cpu");
  await assertNoLeak(async () => {
    const policy = await loadPolicy(`${fixtures}qwen2_shards_bf16`);
    policy.adapter = initAdapter(policy.config, { rank: 2, alpha: 3 }, 1);
    const folder = `${await Deno.makeTempDir()}/deep/er`;
    await savePolicy(folder, policy);
    const loaded = await loadPolicy(folder);
    assertEquals(Object.keys(loaded.weights), Object.keys(policy.weights));
    for (const [name, tensor] of Object.entries({ ...policy.weights, ...policy.adapter.weights })) {
      assertEquals(
        await ({ ...loaded.weights, ...loaded.adapter!.weights })[name]!.data(),
        await tensor.data(),
        name,
      );
    }
    assertEquals(loaded.config, { ...policy.config, head_dim: 4 });
    assertEquals(loaded.tokenizer.files, policy.tokenizer.files);
    assertEquals(loaded.tokenizer.encode("who lies"), policy.tokenizer.encode("who lies"));
    tf.dispose([policy.weights, policy.adapter.weights, loaded.weights, loaded.adapter!.weights]);
    await Deno.remove(folder, { recursive: true });
  });
});

Deno.test("loadPolicy() names the weight or file that is wrong", async () => {
  await tf.setBackend("cpu");
  const folder = await copied("qwen2_tied");
  const path = `${folder}/model.safetensors`;
  const { tensors } = await readSafetensors(path);
  const refused = async (message: string) =>
    await assertNoLeak(async () => void await assertRejects(() => loadPolicy(folder), InputError, message));
  const rewrite = (change: (copy: Record<string, { shape: number[]; data: Float32Array }>) => void) => {
    const copy = structuredClone(tensors) as Record<string, { shape: number[]; data: Float32Array }>;
    change(copy);
    return Deno.writeFile(path, writeSafetensors(copy));
  };
  await rewrite((copy) => delete copy["model.norm.weight"]);
  await refused("weight model.norm.weight is missing");
  await rewrite((copy) => copy["model.norms.weight"] = copy["model.norm.weight"]!);
  await refused("has no weight model.norms.weight; the nearest is model.norm.weight");
  await rewrite((copy) => copy["model.norm.weight"] = { shape: [4, 4], data: new Float32Array(16) });
  await refused("model.norm.weight has shape [4,4], config.json asks for [16]");
  // Redundant ones are left out.
  await rewrite((copy) => {
    copy["lm_head.weight"] = copy["model.embed_tokens.weight"]!;
    copy["model.layers.0.self_attn.rotary_emb.inv_freq"] = copy["model.norm.weight"]!;
  });
  tf.dispose((await loadPolicy(folder)).weights);
  await Deno.remove(path);
  await refused("neither model.safetensors nor model.safetensors.index.json");
  await Deno.writeTextFile(`${folder}/model.safetensors.index.json`, "{}");
  await refused("Cannot parse");
  await Deno.writeTextFile(
    `${folder}/model.safetensors.index.json`,
    `{"weight_map": {"a": "gone.safetensors"}}`,
  );
  await refused("gone.safetensors: there is no such file");
  await Deno.remove(`${folder}/tokenizer.json`);
  await refused("tokenizer.json is missing");
  await Deno.remove(`${folder}/config.json`);
  await refused("config.json is missing; name a folder that holds a Hugging Face model");
  await Deno.remove(folder, { recursive: true });
});

Deno.test("loadPolicy() refuses a tokenizer with more ids than the model", async () => {
  const folder = await copied("qwen2_tied");
  const config = JSON.parse(await Deno.readTextFile(`${folder}/config.json`));
  await Deno.writeTextFile(`${folder}/config.json`, JSON.stringify({ ...config, vocab_size: 10 }));
  await assertRejects(() => loadPolicy(folder), InputError, "its tokenizer has 18 ids, but vocab_size");
  await Deno.remove(folder, { recursive: true });
});

Deno.test("parseConfig() reads configJson() and both ways of writing the rotary base", () => {
  const config = { ...tinyConfig, pad_token_id: 0, eos_token_id: [1, 2] };
  assertEquals(parseConfig(configJson(config), "config.json"), { ...config, head_dim: 4 });
  assertEquals(configJson(parseConfig(configJson(config), "config.json")), configJson(config));
  const { rope_theta: _, ...rest } = JSON.parse(configJson(config));
  const rope_parameters = { rope_type: "default", rope_theta: 5e5 };
  assertEquals(parseConfig(JSON.stringify({ ...rest, rope_parameters }), "config.json").rope_theta, 5e5);
});

Deno.test("parseConfig() refuses what the decoder does not do", () => {
  const refused = (change: object, message: string) =>
    void assertThrows(
      () =>
        parseConfig(JSON.stringify({ ...JSON.parse(configJson(tinyConfig)), ...change }), "x/config.json"),
      InputError,
      message,
    );
  refused(
    { model_type: "qwen3" },
    `Cannot use x/config.json: model_type is "qwen3"; supported is "qwen2" or "llama"`,
  );
  refused({ architectures: ["Qwen2ForSequenceClassification"] }, `supported is ["Qwen2ForCausalLM"]`);
  refused({ hidden_act: "gelu" }, `hidden_act is "gelu"`);
  refused({ use_sliding_window: true }, "use_sliding_window is true");
  refused({ mlp_bias: true }, "mlp_bias is true");
  refused({ quantization_config: { bits: 4 } }, "supported is no quantization");
  refused({ rope_scaling: { rope_type: "llama3" } }, `rope_scaling is {"rope_type":"llama3"}`);
  refused({ rope_parameters: { rope_type: "yarn" } }, "supported is the default rotary embedding");
  refused({ hidden_size: 0 }, "hidden_size is 0; it must be a number above 0");
  refused({ vocab_size: undefined }, "vocab_size is undefined");
  refused({ num_key_value_heads: 3 }, "a divisor of num_attention_heads, 4");
  refused({ head_dim: 5 }, "heads of width 5");
  assertThrows(() => parseConfig("{", "x/config.json"), InputError, "Cannot parse x/config.json");
});
