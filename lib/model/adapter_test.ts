import { assertAlmostEquals, assertEquals, assertNotEquals, assertRejects } from "@std/assert";
import * as tf from "@tensorflow/tfjs";
import { onEngines } from "../../tests/engines.ts";
import { tinyConfig, tinyPolicy } from "../../tests/tiny_policy.ts";
import { InputError } from "../base/input_error.ts";
import { assertNoLeak } from "../engine/leaks.ts";
import { initAdapter, loadAdapter, mergeAdapter, saveAdapter } from "./adapter.ts";
import { hiddenStates } from "./decoder.ts";
import type { Adapter, Policy, Weights } from "./policy.ts";

async function hidden({ config }: Policy, weights: Weights, adapter?: Adapter): Promise<Float32Array> {
  const out = tf.tidy(() =>
    hiddenStates(config, weights, adapter, tf.tensor2d([[3, 9, 4, 7]], undefined, "int32"))
  );
  const values = await out.data() as Float32Array;
  out.dispose();
  return values;
}

/** An adapter that changes something: B is no longer zero. */
function trained(seed: number): Adapter {
  const adapter = initAdapter(tinyConfig, { rank: 2, alpha: 6 }, seed);
  for (const [name, tensor] of Object.entries(adapter.weights)) {
    if (!name.endsWith("lora_B")) continue;
    adapter.weights[name] = tf.tensor(
      Float32Array.from({ length: tensor.size }, (_, i) => Math.sin(i) / 4),
      tensor.shape,
    );
    tensor.dispose();
  }
  return adapter;
}

Deno.test("initAdapter() changes nothing yet and draws A within 1/√in", async () => {
  const policy = tinyPolicy();
  const adapter = initAdapter(policy.config, { rank: 4, alpha: 8 }, 1);
  assertEquals(await hidden(policy, policy.weights, adapter), await hidden(policy, policy.weights));
  const a = [...await adapter.weights["model.layers.0.mlp.down_proj.lora_A"]!.data()];
  const largest = a.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
  assertEquals(largest < 24 ** -0.5 && largest > 0.8 * 24 ** -0.5, true);
  tf.dispose([policy.weights, adapter.weights]);
});

Deno.test("mergeAdapter() gives weights that do what weights and adapter did", async () => {
  await onEngines(async () => {
    await assertNoLeak(async () => {
      const policy = tinyPolicy();
      const adapter = trained(2);
      const expected = await hidden(policy, policy.weights, adapter);
      assertNotEquals(expected, await hidden(policy, policy.weights));
      const merged = mergeAdapter(policy.config, policy.weights, adapter);
      // The old tensors may go.
      tf.dispose([policy.weights, adapter.weights]);
      assertEquals(Object.keys(merged), Object.keys(policy.weights));
      const actual = await hidden(policy, merged);
      expected.forEach((x, i) => assertAlmostEquals(actual[i]!, x, 1e-5));
      tf.dispose(merged);
    });
  });
});

Deno.test("loadAdapter() reads what saveAdapter() wrote", async () => {
  await tf.setBackend("cpu");
  const folder = await Deno.makeTempDir();
  const adapter = trained(3);
  await saveAdapter(folder, adapter);
  const loaded = await loadAdapter(folder, tinyConfig);
  assertEquals([loaded.rank, loaded.alpha], [2, 6]);
  assertEquals(Object.keys(loaded.weights), Object.keys(adapter.weights));
  for (const [name, tensor] of Object.entries(adapter.weights)) {
    assertEquals(await loaded.weights[name]!.data(), await tensor.data());
  }
  const config = JSON.parse(await Deno.readTextFile(`${folder}/adapter_config.json`));
  assertEquals(config.target_modules.length, 7);
  tf.dispose([adapter.weights, loaded.weights]);

  const refused = async (change: object, message: string, model = tinyConfig) => {
    await Deno.writeTextFile(`${folder}/adapter_config.json`, JSON.stringify({ ...config, ...change }));
    await assertNoLeak(async () =>
      void await assertRejects(() => loadAdapter(folder, model), InputError, message)
    );
  };
  await refused({ peft_type: "IA3" }, `needs peft_type "LORA"`);
  await refused({ use_dora: true }, "use_dora is true");
  await refused({ rank_pattern: { q_proj: 4 } }, "rank_pattern is");
  await refused({ r: 3 }, "has shape [2,24], this model needs [3,24]");
  await refused({}, "belongs to no linear layer", { ...tinyConfig, num_hidden_layers: 1 });
  await Deno.remove(folder, { recursive: true });
  await assertRejects(
    () => loadAdapter(folder, tinyConfig),
    InputError,
    "name a folder that holds a PEFT adapter",
  );
});
