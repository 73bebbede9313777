/** Decoder, adapter, tokenizer, AdamW and schedules against transformers, peft and torch; see make_model_fixtures.py. */
import { assertAlmostEquals, assertEquals, assertLess } from "@std/assert";
import * as tf from "@tensorflow/tfjs";
import { assertNoLeak } from "../lib/engine/leaks.ts";
import { adamwStep } from "../lib/learn/adamw.ts";
import { batchTensors, packBatch } from "../lib/learn/batch.ts";
import { learningRate } from "../lib/learn/schedule.ts";
import { hiddenStates, outputLogits } from "../lib/model/decoder.ts";
import { generate } from "../lib/model/generate.ts";
import { loadPolicy } from "../lib/model/hf_folder.ts";
import type { Policy, Weights } from "../lib/model/policy.ts";
import { modelLogits, tokenEntropies, tokenLogprobs } from "../lib/model/scoring.ts";
import { loadTokenizer } from "../lib/model/tokenizer.ts";
import { onEngines } from "./engines.ts";
import fixture from "./fixtures/model.json" with { type: "json" };

const folder = decodeURIComponent(new URL("fixtures/models/", import.meta.url).pathname);
const sequences = fixture.rows.map((tokens) => ({ tokens, mask: tokens.map((_, t) => t === 0 ? 0 : 1) }));

function unpack(text: string): Float32Array {
  return new Float32Array(Uint8Array.from(atob(text), (character) => character.charCodeAt(0)).buffer);
}

/** Asserts that two arrays differ by at most `tolerance` of the larger of 1 and the largest expected value. */
function assertClose(
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
  tolerance: number,
  name: string,
): void {
  assertEquals(actual.length, expected.length, name);
  let [worst, size] = [0, 1];
  for (let i = 0; i < expected.length; i++) {
    worst = Math.max(worst, Math.abs(actual[i]! - expected[i]!));
    size = Math.max(size, Math.abs(expected[i]!));
  }
  assertLess(worst / size, tolerance, name);
}

/** The loss of make_model_fixtures.py on all rows in one batch. */
function scalarLoss({ config, adapter }: Policy, trained: Weights, weights: Weights): tf.Scalar {
  const packed = packBatch(sequences, { padTokenId: 0 });
  const batch = batchTensors(packed);
  const factors = new Float32Array(packed.B * packed.M);
  sequences.forEach(({ tokens }, row) => {
    for (let t = 1; t < tokens.length; t++) factors[row * packed.M + t - 1] = Math.cos(t);
  });
  const withTrained = adapter && { ...adapter, weights: trained };
  const logits_BMV = modelLogits(config, adapter ? weights : trained, withTrained, batch);
  const logp_BM = tokenLogprobs(logits_BMV, batch.targets_BM, fixture.temperature);
  const entropy_BM = tokenEntropies(logits_BMV, fixture.temperature);
  const chosen = tf.sum(tf.mul(logp_BM, tf.tensor(factors, [packed.B, packed.M])));
  return tf.add(chosen, tf.mul(tf.sum(tf.mul(entropy_BM, batch.mask_BM)), fixture.entropy)) as tf.Scalar;
}

interface Figures {
  logits: string[];
  loss: number;
  gradients: Record<string, string>;
}

async function assertFigures(
  policy: Policy,
  expected: Figures,
  rename: (name: string) => string,
): Promise<void> {
  const { config, weights, adapter } = policy;
  await assertNoLeak(async () => {
    for (const [row, tokens] of fixture.rows.entries()) {
      const logits = tf.tidy(() => {
        // Padded on the right by three tokens that must change nothing.
        const hidden_BTD = hiddenStates(
          config,
          weights,
          adapter,
          tf.tensor2d([[...tokens, 1, 2, 3]], undefined, "int32"),
        );
        const hidden_ND = tf.slice(hidden_BTD, [0, 0, 0], [1, tokens.length, -1]);
        return outputLogits(
          config,
          weights,
          adapter,
          tf.reshape(hidden_ND, [tokens.length, config.hidden_size]),
        );
      });
      assertClose(await logits.data(), unpack(expected.logits[row]!), 1e-4, `logits of row ${row}`);
      logits.dispose();
    }
    const trained = adapter?.weights ?? weights;
    const names = Object.keys(trained);
    const { value, grads } = tf.tidy(() =>
      tf.valueAndGrads((...tensors: tf.Tensor[]) =>
        scalarLoss(policy, Object.fromEntries(names.map((name, i) => [name, tensors[i]!])), weights)
      )(Object.values(trained))
    );
    assertAlmostEquals((await value.data())[0]!, expected.loss, 1e-4 * Math.max(1, Math.abs(expected.loss)));
    for (const [i, name] of names.entries()) {
      const wanted = expected.gradients[rename(name)];
      assertClose(await grads[i]!.data(), unpack(wanted!), 1e-4, `gradient of ${name}`);
    }
    tf.dispose([value, grads]);
  });
}

Deno.test("the decoder gives transformers' logits and gradients within 1e-4", async (t) => {
  await onEngines(async (engine) => {
    for (const [name, expected] of Object.entries(fixture.cases)) {
      await t.step(`${name} on ${engine.name}`, async () => {
        const policy = await loadPolicy(folder + name);
        delete policy.adapter;
        await assertFigures(policy, expected, (weight) => weight);
        tf.dispose(policy.weights);
      });
    }
  });
});

Deno.test("an adapter written by peft gives its logits and gradients within 1e-4", async () => {
  await onEngines(async () => {
    const policy = await loadPolicy(`${folder}qwen2_tied`);
    await assertFigures(policy, fixture.adapter, (name) => `base_model.model.${name}.weight`);
    tf.dispose([policy.weights, policy.adapter!.weights]);
  });
});

Deno.test("generate() greedily gives transformers' tokens", async () => {
  await onEngines(async () => {
    for (const [name, expected] of Object.entries(fixture.cases)) {
      const policy = await loadPolicy(folder + name);
      const { config, weights, tokenizer } = policy;
      const options = { maxNewTokens: 12, temperature: 0, stopStrings: [], random: () => Math.random };
      const rows = await generate({ config, weights, tokenizer }, fixture.rows, options);
      assertEquals(rows.map(({ tokens }) => tokens), expected.greedy, name);
      tf.dispose([weights, policy.adapter?.weights ?? {}]);
    }
  });
});

Deno.test("adamwStep() equals torch.optim.AdamW after clip_grad_norm_ over ten steps", async () => {
  const { weight_decay: weightDecay, betas, eps: epsilon, maxGradNorm, start, steps } = fixture.adamw;
  const shapes = [[3, 4], [5]];
  const tensors = (values: string[]) => values.map((value, i) => tf.tensor(unpack(value), shapes[i]!));
  await onEngines(async (engine) => {
    const options = { weightDecay, betas: betas as [number, number], epsilon, maxGradNorm };
    const step = engine.compile("adamw", (...inputs) => {
      const [params, grads, m, v] = [0, 2, 4, 6].map((from) => inputs.slice(from, from + 2)) as [
        tf.Tensor[],
        tf.Tensor[],
        tf.Tensor[],
        tf.Tensor[],
      ];
      const [learningRate, step] = inputs.slice(8) as [tf.Scalar, tf.Scalar];
      const out = adamwStep(params, grads, m, v, { learningRate, step }, options);
      return [...out.params, ...out.m, ...out.v, out.gradNorm];
    });
    await assertNoLeak(async () => {
      let params = tensors(start);
      let moments = [...params, ...params].map((tensor) => tf.zerosLike(tensor));
      for (const [i, { grads, norm, lr, params: expected }] of steps.entries()) {
        const inputs = [...params, ...tensors(grads), ...moments, tf.scalar(lr), tf.scalar(i + 1)];
        const outputs = step(...inputs);
        tf.dispose(inputs);
        params = outputs.slice(0, 2);
        moments = outputs.slice(2, 6);
        assertAlmostEquals((await outputs[6]!.data())[0]!, norm, 1e-5);
        outputs[6]!.dispose();
        for (const [j, tensor] of params.entries()) {
          assertClose(await tensor.data(), unpack(expected[j]!), 1e-5, `parameter ${j} after step ${i + 1}`);
        }
      }
      tf.dispose([params, moments]);
    });
    step.dispose();
  });
});

Deno.test("learningRate() equals transformers' schedulers", () => {
  for (const [name, expected] of Object.entries(fixture.schedules)) {
    const schedule = name as keyof typeof fixture.schedules;
    expected.forEach((rate, step) =>
      assertAlmostEquals(
        learningRate(step, { lr: 0.5, warmupSteps: 3, totalSteps: 12, schedule }),
        rate,
        1e-9,
      )
    );
  }
});

Deno.test("loadTokenizer() encodes, decodes and renders chats as transformers does", async () => {
  const { text, ids, decoded, messages, chat } = fixture.tokenizer;
  const names = ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja"];
  const files = await Promise.all(
    names.map(async (name) => [name, await Deno.readTextFile(`${folder}qwen2_tied/${name}`)]),
  );
  const tokenizer = loadTokenizer(Object.fromEntries(files));
  assertEquals(tokenizer.encode(text), ids);
  assertEquals(tokenizer.decode(ids), decoded);
  assertEquals(
    tokenizer.applyChatTemplate!(messages as { role: "system" | "user"; content: string }[]),
    chat,
  );
});
