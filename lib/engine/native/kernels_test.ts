/** The kernels written in C, as machine code and as WebAssembly, beside compositions of tfjs's own operations: values and gradients. */
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import * as tf from "@tensorflow/tfjs";
import { adamwStep } from "../../learn/adamw.ts";
import { batchTensors, mayLieEndToEnd, packBatch, type PackedBatch } from "../../learn/batch.ts";
import { causalAttention, causalMask, fusedAttention } from "../../model/attention.ts";
import { halfTable, rotationOf, rotationTable } from "../../model/decoder.ts";
import { fusedSwiGlu, linear, rmsNorm, rotate, swiGlu } from "../../model/layer_ops.ts";
import { modelLogits, tokenEntropies, tokenLogprobs } from "../../model/scoring.ts";
import { tinyConfig, tinyPolicy } from "../../../tests/tiny_policy.ts";
import { randomStream } from "../../base/random.ts";
import { fused, hasFusedKernels, withoutFusedKernels } from "../fused_kernels.ts";
import { type EngineName, openEngine } from "../open_engine.ts";
import { needsTensorflow } from "../tensorflow_for_tests.ts";
import { nativeLibrary } from "./native_library.ts";

const { ignore: noTensorflow } = await needsTensorflow();
const ignore = noTensorflow || nativeLibrary() === undefined;
if (ignore && !noTensorflow) {
  console.log("Tests of machine code are left out: there is none for this machine");
}

const testOn = (engines: EngineName[], name: string, run: () => Promise<void>) => {
  for (const engineName of engines) {
    Deno.test(`${name}, on ${engineName}`, { ignore: engineName === "tensorflow" && ignore }, async () => {
      const engine = await openEngine({ engine: engineName });
      assert(hasFusedKernels());
      tf.engine().startScope();
      await run();
      tf.engine().endScope();
      engine.close();
    });
  }
};
const test = (name: string, run: () => Promise<void>) => testOn(["tensorflow", "wasm"], name, run);
const testNative = (name: string, run: () => Promise<void>) => testOn(["tensorflow"], name, run);

function numbers(shape: number[], seed: string): tf.Tensor {
  const random = randomStream("native", seed, ...shape);
  return tf.tensor(
    Float32Array.from({ length: tf.util.sizeFromShape(shape) }, () => 2 * random() - 1),
    shape,
  );
}

async function assertClose(actual: tf.Tensor, expected: tf.Tensor, tolerance: number): Promise<void> {
  assertEquals(actual.shape, expected.shape);
  const [a, b] = [await actual.data(), await expected.data()];
  a.forEach((value, i) => {
    const near = Math.abs(value - b[i]!) <= tolerance * (1 + Math.abs(b[i]!));
    assert(near || Object.is(value, b[i]), `element ${i} is ${value} and not ${b[i]}`);
  });
}

/** Compares values and gradients, the latter of a weighted sum of the values. */
async function assertSame(
  fusedOne: (...inputs: tf.Tensor[]) => tf.Tensor,
  composed: (...inputs: tf.Tensor[]) => tf.Tensor,
  inputs: tf.Tensor[],
  tolerance = 2e-5,
): Promise<void> {
  const value = fusedOne(...inputs);
  const weights = numbers(value.shape, "weights");
  const of = (f: (...inputs: tf.Tensor[]) => tf.Tensor) =>
    tf.grads((...x: tf.Tensor[]) => tf.sum(tf.mul(f(...x), weights)))(inputs);
  const gradients = of(fusedOne);
  const [expected, expectedGradients] = withoutFusedKernels(() =>
    [composed(...inputs), of(composed)] as const
  );
  await assertClose(value, expected, tolerance);
  for (const [i, gradient] of gradients.entries()) {
    await assertClose(gradient, expectedGradients[i]!, 10 * tolerance);
  }
}

for (const [N, D] of [[1, 1], [3, 7], [70, 64], [130, 20]] as const) {
  test(`rmsNorm() is the composed one, ${N} × ${D}`, async () => {
    const norm = (x: tf.Tensor, w: tf.Tensor) => rmsNorm(x, w, 1e-6);
    await assertSame(norm, norm, [numbers([N, D], "x"), numbers([D], "w")]);
  });

  test(`fusedSwiGlu() is the composed one, ${N} × ${D}`, async () => {
    await assertSame(
      (x) => fusedSwiGlu(x),
      (x) => swiGlu(...tf.split(x, 2, 1) as [tf.Tensor, tf.Tensor]),
      [tf.mul(numbers([N, 2 * D], "x"), 20)],
    );
  });

  test(`linear() with a bias is the composed one, ${N} × ${D}`, async () => {
    const apply = (x: tf.Tensor, w: tf.Tensor, b: tf.Tensor) => linear(x, w, b);
    await assertSame(apply, apply, [numbers([N, D], "x"), numbers([19, D], "w"), numbers([19], "b")]);
  });

  test(`tokenLogprobs() is the composed one, ${N} × ${D}`, async () => {
    const targets = tf.tensor2d(Int32Array.from({ length: N }, (_, i) => (7 * i) % D), [1, N], "int32");
    const logprobs = (x: tf.Tensor) => tokenLogprobs(tf.reshape(x, [1, N, D]), targets, 0.7);
    await assertSame(logprobs, logprobs, [tf.mul(numbers([N, D], "x"), 30)]);
  });

  test(`tokenEntropies() is the composed one, ${N} × ${D}`, async () => {
    const entropies = (x: tf.Tensor) => tokenEntropies(tf.reshape(x, [1, N, D]), 0.7);
    await assertSame(entropies, entropies, [tf.mul(numbers([N, D], "x"), 10)]);
  });
}

for (
  const [B, T, H, K, Dh] of [[1, 1, 1, 1, 2], [2, 5, 4, 2, 6], [1, 49, 2, 1, 20], [3, 100, 2, 2, 32], [
    1,
    130,
    4,
    1,
    64,
  ]] as const
) {
  test(`fusedAttention() is the composed one, ${B} × ${T}, ${H} heads of ${Dh} on ${K}`, async () => {
    const config = { ...tinyConfig, num_attention_heads: H, num_key_value_heads: K, head_dim: Dh };
    const table = rotationTable(config, T);
    const half = halfTable(config, table);
    const rotation = [tf.tensor(half.cos, [T, Dh / 2]), tf.tensor(half.sin, [T, Dh / 2])] as const;
    const composed = (qkv: tf.Tensor) => {
      const heads = tf.transpose(tf.reshape(qkv, [B, T, H + 2 * K, Dh]), [0, 2, 1, 3]);
      const [qk, v] = tf.split(heads, [H + K, K], 1) as [tf.Tensor, tf.Tensor];
      const [q, k] = tf.split(rotate(qk, rotationOf(table, [T, Dh])), [H, K], 1) as [tf.Tensor, tf.Tensor];
      const out = causalAttention(causalMask(T))(tf.reshape(q, [B, K, H / K * T, Dh]), k, v);
      return tf.reshape(tf.transpose(tf.reshape(out, [B, H, T, Dh]), [0, 2, 1, 3]), [B * T, H * Dh]);
    };
    const qkv = tf.mul(numbers([B * T, (H + 2 * K) * Dh], "qkv"), 2);
    await assertSame((x) => fusedAttention(x, rotation, tf.zeros([B, T], "int32"), [H, K]), composed, [qkv]);
  });
}

test("modelLogits() of sequences end to end are those of padded ones, gradients too", async () => {
  const { config, weights } = tinyPolicy(3);
  const random = randomStream("sequences");
  const some = (length: number) => Array.from({ length }, () => Math.floor(random() * 30));
  // Some begin alike: they lie behind one beginning, which only one of them has.
  const [long, short] = [some(50), some(13)];
  const alike = [5, 20, 1, 33].map((length) => [...long, ...some(length)]);
  const few = [8, 2].map((length) => [...short, ...some(length)]);
  const sequences = [...[3, 60, 1, 17, 49, 2, 33].map(some), ...alike, ...few, few[0]!, long].map((
    tokens,
  ) => ({
    tokens,
    mask: tokens.map((_, t) => Number(t > 0 && random() < 0.7)),
  }));
  assertEquals(mayLieEndToEnd(sequences) === undefined, false);
  const of = (packed: PackedBatch) => {
    const { mask_BM, ...batch } = batchTensors(packed);
    const logits = (...values: tf.Tensor[]) => {
      const named = Object.fromEntries(Object.keys(weights).map((name, i) => [name, values[i]!]));
      const logits_BMV = modelLogits(config, named, undefined, batch);
      return tf.mul(logits_BMV, tf.expandDims(mask_BM, 2));
    };
    const gradients = tf.grads((...values: tf.Tensor[]) => tf.sum(tf.square(logits(...values))))(
      Object.values(weights),
    );
    return [logits(...Object.values(weights)), ...gradients];
  };
  const padded = of(packBatch(sequences, { padTokenId: 0 }));
  for (const endToEnd of [1, 2, 3]) {
    const packed = packBatch(sequences, { padTokenId: 0, endToEnd, lengthBucket: 50 });
    assert(packed.rows <= endToEnd);
    assert(packed.tokens_BT.some((token) => token < -(2 ** 30)));
    for (const [i, tensor] of of(packed).entries()) await assertClose(tensor, padded[i]!, 2e-4);
  }
});

testNative("tf.matMul() is TensorFlow's, transposed or not, of any size", async () => {
  const sizes: [m: number, n: number, k: number][] = [
    [1, 1, 1],
    [5, 17, 3],
    [6, 16, 384],
    [7, 33, 385],
    [97, 130, 40],
    // As many rows as AVX2 packs of a transposed A together, and so few more that what stands beside them may be read.
    [72, 40, 200],
    [74, 40, 200],
    [64, 100, 0],
    [200, 1030, 700],
    // In several passes over the columns or the depth, of which the last is less deep.
    [120, 1030, 700],
    [120, 700, 1537],
    [120, 100, 577],
  ];
  for (const [m, n, k] of sizes) {
    for (const [ta, tb] of [[false, false], [true, false], [false, true], [true, true]] as const) {
      for (const batch of [[], [3], [2, 1]]) {
        const a = numbers([...batch, ...(ta ? [k, m] : [m, k])], "a");
        const b = numbers([...batch, ...(tb ? [n, k] : [k, n])], "b");
        const expected = withoutFusedKernels(() => tf.matMul(a, b, ta, tb));
        await assertClose(tf.matMul(a, b, ta, tb), expected, 1e-4);
      }
    }
  }
});

testNative("tf.matMul() leaves broadcast and integer products to TensorFlow", async () => {
  const broadcast = tf.matMul(tf.ones([2, 3, 4]), tf.ones([1, 4, 5]));
  assertEquals(broadcast.shape, [2, 3, 5]);
  const integers = tf.matMul(tf.tensor2d([[2]], [1, 1], "int32"), tf.tensor2d([[3]], [1, 1], "int32"));
  assertEquals([...await integers.data()], [6]);
});

testNative(
  "tf.matMul() gives the same bits in a compiled step, after an operation that failed too",
  async () => {
    const [a, b] = [numbers([2, 40, 300], "a"), numbers([2, 70, 300], "b")];
    const engine = await openEngine({ engine: "tensorflow" });
    const step = engine.compile("product", (a, b) => [tf.matMul(a!, b!, false, true)]);
    const [expected] = step(a, b);
    step.dispose();
    assertThrows(() => tf.gather(a, tf.tensor1d([5], "int32")));
    const product = tf.matMul(a, b, false, true);
    assertEquals([product.shape, product.dtype], [[2, 40, 70], "float32"]);
    assertEquals(await product.data(), await expected!.data());
  },
);

testNative("kernels give the same bits on one thread and on three", async () => {
  const [a, b, tall] = [numbers([300, 260], "a"), numbers([260, 500], "b"), numbers([900, 260], "tall")];
  const qkv = numbers([4 * 60, 3 * 32], "qkv");
  const rotation = [numbers([60, 8], "cos"), numbers([60, 8], "sin")] as const;
  const tokens = tf.tensor2d(
    Int32Array.from({ length: 4 * 60 }, (_, i) => i % 25 > 0 ? 2 : i % 50 > 0 ? -3 - 2 ** 30 : -3),
    [4, 60],
    "int32",
  );
  const results = [];
  for (const threads of [1, 3, 1]) {
    nativeLibrary()!.native_set_threads(threads);
    const values = [
      tf.matMul(a, b),
      tf.matMul(b, a, true, true),
      tf.matMul(tall, a, false, true),
      fusedAttention(qkv, rotation, tokens, [2, 2]),
    ];
    results.push(await Promise.all(values.map((value) => value.data())));
  }
  assertEquals(results[1], results[0]);
  assertEquals(results[2], results[0]);
});

test("adamwStep() is the composed one", async () => {
  const tensors = (seed: string) => [[3, 5], [1], [70000]].map((shape) => numbers(shape, seed));
  const [params, grads, m] = [tensors("params"), tensors("grads"), tensors("m")];
  const v = tensors("v").map((tensor) => tf.add(tf.square(tensor), 0.01));
  const scalars = { learningRate: tf.scalar(0.01), step: tf.scalar(3) };
  const step = () => adamwStep(params, grads, m, v, scalars, { weightDecay: 0.1, maxGradNorm: 0.5 });
  const [found, expected] = [step(), withoutFusedKernels(step)];
  for (const part of ["params", "m", "v"] as const) {
    for (const [i, tensor] of found[part].entries()) await assertClose(tensor, expected[part][i]!, 1e-6);
  }
});

test("NaN and infinity go through", async () => {
  const values = [NaN, Infinity, -Infinity, 200, -200, 0];
  const gateUp = tf.tensor2d(values.map((x) => [x, 1]));
  const expected = withoutFusedKernels(() => swiGlu(...tf.split(gateUp, 2, 1) as [tf.Tensor, tf.Tensor]));
  const found = [...await fusedSwiGlu(gateUp).data()];
  assertEquals(found[0], NaN);
  assertEquals(found.slice(3), [...await expected.data()].slice(3));
  assertEquals(found[1], Infinity);
  const logits = tf.tensor3d([[[NaN, 1], [0, 1]]]);
  const logp = [...await tokenLogprobs(logits, tf.tensor2d([[1, 1]], [1, 2], "int32")).data()];
  assertEquals(logp[0], NaN);
  assert(Math.abs(logp[1]! + 0.3132617) < 1e-6);
});

test("a kernel refuses what does not fit, with its reason", async () => {
  await assertRejects(
    async () =>
      await fused("TokenLogprobs", [tf.ones([1, 3]), tf.tensor1d([3], "int32")], { scale: 1 })[0]!.data(),
    Error,
    "a target is not in the vocabulary",
  );
});

testNative("tf.matMul() of more than memory holds says so, and leaves nothing behind", () => {
  const [column, row] = [tf.ones([2 ** 20, 1]), tf.ones([1, 2 ** 20])]; // 4 TiB: above the limit of TensorFlow's pool
  const before = tf.memory().numTensors;
  assertThrows(() => tf.matMul(column, row), Error, "MatMul failed: out of memory for the result");
  assertEquals(tf.memory().numTensors, before);
  return Promise.resolve();
});
