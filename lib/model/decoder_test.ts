import { assertAlmostEquals, assertEquals, assertLess, assertThrows } from "@std/assert";
import * as tf from "@tensorflow/tfjs";
import { onEngines } from "../../tests/engines.ts";
import { letters, tinyConfig, tinyPolicy } from "../../tests/tiny_policy.ts";
import { batchTensors, packBatch } from "../learn/batch.ts";
import { hiddenStates, initWeights, linearNames, rotationTable, weightShapes } from "./decoder.ts";
import { modelLogits, tokenLogprobs } from "./scoring.ts";

Deno.test("weightShapes() and linearNames() name what a config asks for", () => {
  const shapes = weightShapes(tinyConfig);
  assertEquals(shapes["model.layers.1.self_attn.v_proj.bias"], [8]);
  assertEquals(shapes["lm_head.weight"], undefined);
  const llama = weightShapes({ ...tinyConfig, model_type: "llama", tie_word_embeddings: false });
  assertEquals(llama["model.layers.1.self_attn.v_proj.bias"], undefined);
  assertEquals(llama["lm_head.weight"], [30, 16]);
  assertEquals(linearNames(tinyConfig).length, 2 * 7);
});

Deno.test("initWeights() draws the same normal numbers on every engine", async () => {
  let first: number[] | undefined;
  await onEngines(async () => {
    const weights = initWeights({ ...tinyConfig, vocab_size: 1000 }, 5);
    const values = [...await weights["model.embed_tokens.weight"]!.data()];
    first ??= values;
    assertEquals(values, first);
    const mean = values.reduce((sum, x) => sum + x, 0) / values.length;
    const square = values.reduce((sum, x) => sum + x * x, 0) / values.length;
    assertAlmostEquals(mean, 0, 0.01);
    assertAlmostEquals(Math.sqrt(square), 0.3, 0.01);
    assertEquals((await weights["model.norm.weight"]!.data())[0], 1);
    assertEquals((await weights["model.layers.0.self_attn.q_proj.bias"]!.data())[0], 0);
    tf.dispose(weights);
  });
});

Deno.test("rotationTable() turns pair i at position t by t / theta^(2i/Dh)", () => {
  const { cos, sin } = rotationTable(tinyConfig, 8);
  assertAlmostEquals(cos[3 * 4 + 1]!, Math.cos(3 / 100), 1e-6);
  assertAlmostEquals(sin[3 * 4 + 3]!, Math.sin(3 / 100), 1e-6);
  assertAlmostEquals(sin[3 * 4 + 1]!, -Math.sin(3 / 100), 1e-6);
});

Deno.test("hiddenStates() of a token depends on no later token and no other row", async () => {
  await onEngines(async () => {
    const { config, weights } = tinyPolicy();
    const hidden = async (rows: number[][]) => {
      const out = tf.tidy(() =>
        hiddenStates(config, weights, undefined, tf.tensor2d(rows, undefined, "int32"))
      );
      const values = await out.data();
      out.dispose();
      return values;
    };
    const one = await hidden([[3, 4, 5]]);
    const two = await hidden([[3, 4, 5, 9, 9], [1, 1, 1, 1, 1]]);
    one.forEach((x, i) => assertAlmostEquals(two[i]!, x, 1e-5));
    tf.dispose(weights);
  });
});

Deno.test("hiddenStates() names a missing weight", () => {
  const { config, weights } = tinyPolicy();
  delete weights["model.layers.1.mlp.down_proj.weight"];
  const tokens = tf.tensor2d([[1, 2]], undefined, "int32");
  assertThrows(
    () => hiddenStates(config, weights, undefined, tokens),
    Error,
    "weight model.layers.1.mlp.down_proj.weight is missing",
  );
  tf.dispose([weights, tokens]);
});

Deno.test("a compiled step of the decoder gives the eager loss and gradients", async () => {
  await onEngines(async (engine) => {
    const { config, weights } = tinyPolicy();
    const names = Object.keys(weights);
    const sequence = { tokens: letters.encode("HELLOJACK"), mask: [0, 1, 1, 0, 1, 1, 1, 0, 1] };
    const batch = batchTensors(packBatch([sequence, sequence], { padTokenId: 0 }));
    const inputs = [...Object.values(weights), ...Object.values(batch)];
    const step = (...tensors: tf.Tensor[]) => {
      const [tokens_BT, index_BM, targets_BM, mask_BM] = tensors.slice(names.length) as [
        tf.Tensor2D,
        tf.Tensor2D,
        tf.Tensor2D,
        tf.Tensor2D,
      ];
      const { value, grads } = tf.valueAndGrads((...given: tf.Tensor[]) => {
        const own = Object.fromEntries(names.map((name, i) => [name, given[i]!]));
        const logits_BMV = modelLogits(config, own, undefined, { tokens_BT, index_BM });
        return tf.sum(tf.mul(tokenLogprobs(logits_BMV, targets_BM), mask_BM)) as tf.Scalar;
      })(tensors.slice(0, names.length));
      return [value, ...grads];
    };
    const compiled = engine.compile("decoder", step);
    const eager = tf.tidy(() => step(...inputs));
    const traced = compiled(...inputs);
    for (const [i, expected] of eager.entries()) {
      const [a, b] = [await traced[i]!.data(), [...await expected.data()]];
      const worst = b.reduce(
        (most, x, j) => Math.max(most, Math.abs(x - a[j]!) / Math.max(1, Math.abs(x))),
        0,
      );
      assertLess(worst, 1e-5, ["loss", ...names][i]);
    }
    compiled.dispose();
    tf.dispose([eager, traced, inputs]);
  });
});
