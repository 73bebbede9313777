/**
 * One suite for every engine: each op that a decoder's forward pass, backward pass or optimiser uses gives the values and
 * the gradients of tfjs's plain JavaScript engine, `cpu`, which is slow but right. An engine that this machine lacks is
 * left out with its reason.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import * as tf from "@tensorflow/tfjs";
import { InputError } from "../base/input_error.ts";
import { randomStream } from "../base/random.ts";
import { type EngineName, openEngine } from "./open_engine.ts";
import { requestAdapter } from "./webgpu_adapter.ts";

interface Input {
  shape: number[];
  dtype: "float32" | "int32" | "bool";
  data: number[];
}

interface Case {
  inputs: Input[];
  run: (...inputs: tf.Tensor[]) => tf.Tensor | tf.Tensor[];
  /** Whether the gradient of a weighted sum of the outputs is compared too. */
  gradient: boolean;
}

const input = (shape: number[], dtype: Input["dtype"], value: (uniform: number) => number): Input => {
  const random = randomStream("all_engines_test", dtype, ...shape);
  return { shape, dtype, data: Array.from({ length: tf.util.sizeFromShape(shape) }, () => value(random())) };
};
const real = (...shape: number[]) => input(shape, "float32", (u) => Math.fround(4 * u - 2));
const positive = (...shape: number[]) => input(shape, "float32", (u) => Math.fround(0.1 + 3 * u));
const ints = (limit: number, ...shape: number[]) => input(shape, "int32", (u) => Math.floor(u * limit));
const bools = (...shape: number[]) => input(shape, "bool", (u) => u < 0.5 ? 0 : 1);
const floats = (...data: number[]): Input => ({ shape: [data.length], dtype: "float32", data });

const cases: Record<string, Case> = {};
/** An op whose gradient is compared too. */
function smooth(name: string, inputs: Input[], run: Case["run"]): void {
  cases[name] = { inputs, run, gradient: true };
}
/** An op that has no gradient, or whose gradient nothing needs. */
function plain(name: string, inputs: Input[], run: Case["run"]): void {
  cases[name] = { inputs, run, gradient: false };
}

for (const [ta, tb] of [[false, false], [false, true], [true, false], [true, true]] as const) {
  const left = ta ? [7, 5] : [5, 7], right = tb ? [9, 7] : [7, 9];
  for (const batch of [[], [3], [2, 3]]) {
    smooth(
      `matMul ${ta ? "T" : "N"}${tb ? "T" : "N"} batch [${batch}]`,
      [real(...batch, ...left), real(...batch, ...right)],
      (a, b) => tf.matMul(a!, b!, ta, tb),
    );
  }
}
plain("matMul of no rows", [real(0, 4), real(4, 3)], (a, b) => tf.matMul(a!, b!));
smooth(
  "fused.matMul with bias and relu",
  [real(5, 7), real(7, 9), real(9)],
  (a, b, bias) =>
    tf.fused.matMul({ a: a as tf.Tensor2D, b: b as tf.Tensor2D, bias: bias!, activation: "relu" }),
);

const broadcasts: [number[], number[]][] = [
  [[2, 5, 8], [2, 5, 8]],
  [[2, 5, 8], [8]],
  [[2, 5, 8], [2, 5, 1]],
  [[2, 1, 8], [1, 5, 1]],
  [[2, 3, 5, 5], [2, 1, 5, 5]],
  [[2, 3, 4, 6], [4, 6]],
  [[2, 5], []],
];
for (const [a, b] of broadcasts) {
  const shapes = `[${a}] and [${b}]`;
  smooth(`add ${shapes}`, [real(...a), real(...b)], (x, y) => tf.add(x!, y!));
  smooth(`sub ${shapes}`, [real(...a), real(...b)], (x, y) => tf.sub(x!, y!));
  smooth(`mul ${shapes}`, [real(...a), real(...b)], (x, y) => tf.mul(x!, y!));
  smooth(`div ${shapes}`, [real(...a), positive(...b)], (x, y) => tf.div(x!, y!));
  plain(`maximum and minimum ${shapes}`, [real(...a), real(...b)], (x, y) => [
    tf.maximum(x!, y!),
    tf.minimum(x!, y!),
    tf.squaredDifference(x!, y!),
  ]);
  plain(`comparisons ${shapes}`, [ints(3, ...a), ints(3, ...b)], (x, y) => [
    tf.equal(x!, y!),
    tf.notEqual(x!, y!),
    tf.greater(x!, y!),
    tf.greaterEqual(x!, y!),
    tf.less(x!, y!),
    tf.lessEqual(x!, y!),
  ]);
  plain(`integer arithmetic ${shapes}`, [ints(90, ...a), ints(90, ...b)], (x, y) => [
    tf.add(x!, y!),
    tf.sub(x!, y!),
    tf.mul(x!, y!),
    tf.maximum(x!, y!),
    tf.minimum(x!, y!),
    tf.floorDiv(x!, tf.add(y!, tf.scalar(1, "int32"))),
    tf.mod(x!, tf.add(y!, tf.scalar(1, "int32"))),
  ]);
  plain(`logic ${shapes}`, [bools(...a), bools(...b)], (x, y) => [
    tf.logicalAnd(x!, y!),
    tf.logicalOr(x!, y!),
    tf.logicalNot(x!),
  ]);
}
// tfjs's own gradients of these do not sum over broadcast dimensions: equal shapes only, on every engine.
smooth("maximum", [real(4, 6), real(4, 6)], (x, y) => tf.maximum(x!, y!));
smooth("minimum", [real(4, 6), real(4, 6)], (x, y) => tf.minimum(x!, y!));
smooth("squaredDifference", [real(4, 6), real(4, 6)], (x, y) => tf.squaredDifference(x!, y!));
smooth("pow", [positive(4, 6), real(4, 6)], (x, y) => tf.pow(x!, y!));

const unary: Record<string, (x: tf.Tensor) => tf.Tensor> = {
  relu: tf.relu,
  sigmoid: tf.sigmoid,
  silu: (x) => tf.mul(x, tf.sigmoid(x)),
  tanh: tf.tanh,
  softplus: tf.softplus,
  exp: tf.exp,
  expm1: tf.expm1,
  square: tf.square,
  abs: tf.abs,
  neg: tf.neg,
  sign: tf.sign,
  sin: tf.sin,
  cos: tf.cos,
  floor: tf.floor,
  ceil: tf.ceil,
  erf: tf.erf,
  clipByValue: (x) => tf.clipByValue(x, -0.5, 1),
  zerosLike: tf.zerosLike,
  onesLike: tf.onesLike,
};
for (const [name, run] of Object.entries(unary)) smooth(name, [real(3, 33)], (x) => run(x!));
for (const run of [tf.log, tf.log1p, tf.sqrt, tf.rsqrt, tf.reciprocal]) {
  smooth(run.name.replace(/_*$/, ""), [positive(3, 33)], (x) => run(x!));
}
plain("round halves to even", [floats(-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 0.4, -0.6)], (x) => tf.round(x!));
plain("cast of floats to integers truncates", [floats(-2.9, -0.5, 0.5, 2.9)], (x) => tf.cast(x!, "int32"));
plain("casts", [bools(7), ints(5, 7)], (b, i) => [
  tf.cast(b!, "float32"),
  tf.cast(b!, "int32"),
  tf.cast(i!, "float32"),
  tf.cast(i!, "bool"),
]);

const axes: (number | number[] | undefined)[] = [undefined, 0, 1, -1, [0, 1], [1, 2], [0, 2]];
for (const axis of axes) {
  for (const keepDims of [false, true]) {
    const over = `over ${axis === undefined ? "all" : `[${axis}]`}${keepDims ? " keeping dimensions" : ""}`;
    smooth(`sum ${over}`, [real(3, 5, 17)], (x) => tf.sum(x!, axis, keepDims));
    smooth(`mean ${over}`, [real(3, 5, 17)], (x) => tf.mean(x!, axis, keepDims));
    smooth(`max ${over}`, [real(3, 5, 17)], (x) => tf.max(x!, axis, keepDims));
    smooth(`min ${over}`, [real(3, 5, 17)], (x) => tf.min(x!, axis, keepDims));
    smooth(`logSumExp ${over}`, [real(3, 5, 17)], (x) => tf.logSumExp(x!, axis, keepDims));
    plain(`sum of integers ${over}`, [ints(9, 3, 5, 17)], (x) => tf.sum(x!, axis, keepDims));
    plain(
      `any and all ${over}`,
      [bools(3, 5, 17)],
      (x) => [tf.any(x!, axis, keepDims), tf.all(x!, axis, keepDims)],
    );
  }
}
plain("sum of nothing", [real(0, 4)], (x) => [tf.sum(x!), tf.sum(x!, 0)]);
smooth("softmax", [real(2, 3, 37)], (x) => tf.softmax(x!));
smooth("logSoftmax", [real(2, 3, 37)], (x) => tf.logSoftmax(x!));
smooth("softmax with masked scores", [real(2, 9), bools(2, 9)], (x, mask) => {
  return tf.softmax(tf.where(mask!, x!, tf.fill(x!.shape, -1e9)));
});
plain(
  "softmax and logSumExp of -Infinity",
  [floats(-Infinity, 0, 1, -Infinity)],
  (x) => [tf.softmax(x!), tf.logSumExp(x!)],
);
plain("argMax and argMin", [real(3, 4, 19)], (x) => [tf.argMax(x!, -1), tf.argMin(x!, 1)]);
plain("topk", [real(4, 50)], (x) => {
  const { values, indices } = tf.topk(x!, 7);
  return [values, indices];
});
// tfjs's own gradient of cumsum is right along the last axis only, on every engine.
smooth(
  "cumsum along the last axis",
  [real(3, 8)],
  (x) => [tf.cumsum(x!, 1, true), tf.cumsum(x!, 1, false, true)],
);
plain("cumsum along the first axis", [real(3, 8)], (x) => tf.cumsum(x!, 0));
plain("NaN passes through", [floats(1, NaN, -2), floats(NaN, 0, 3)], (x, y) => [
  tf.add(x!, y!),
  tf.maximum(x!, y!),
  tf.minimum(x!, y!),
  tf.relu(x!),
  tf.sum(x!),
  tf.max(x!),
  tf.min(x!),
  tf.mean(x!),
  tf.exp(x!),
  tf.clipByValue(x!, -1, 1),
  tf.softmax(x!),
  tf.isNaN(x!),
  tf.isFinite(x!),
  tf.where(tf.isNaN(x!), y!, x!),
]);

smooth("gather of embeddings", [real(11, 6), ints(11, 2, 5)], (table, ids) => tf.gather(table!, ids!));
smooth("gather along axis 1", [real(3, 9, 4), ints(9, 5)], (x, ids) => tf.gather(x!, ids!, 1));
smooth("gather of hidden rows by number", [real(2, 5, 4), ints(10, 7)], (x, rows) => {
  return tf.gather(tf.reshape(x!, [10, 4]), rows!);
});
plain("gather far down a long table", [real(70000, 2)], (x) => {
  return tf.gather(x!, tf.tensor1d([0, 32767, 32768, 65535, 65536, 69999], "int32"));
});
plain("gather of integers", [ints(1000, 9, 4), ints(9, 6)], (x, rows) => tf.gather(x!, rows!));
plain("gather of no rows", [real(4, 3)], (x) => tf.gather(x!, tf.tensor1d([], "int32")));
smooth("gather within each batch row", [real(3, 6), ints(6, 3, 4)], (x, ids) => tf.gather(x!, ids!, 1, 1));
plain("gatherND", [real(3, 4, 2), ints(3, 5, 2)], (x, at) => tf.gatherND(x!, at!));
plain("scatterND", [ints(4, 6, 1), real(6, 3)], (at, x) => tf.scatterND(at!, x!, [4, 3]));
plain("tensorScatterUpdate", [real(6, 3), real(2, 3)], (x, rows) => {
  return tf.tensorScatterUpdate(x!, tf.tensor2d([[4], [1]], [2, 1], "int32"), rows!);
});
smooth(
  "unsortedSegmentSum",
  [real(9, 5), ints(4, 9)],
  (x, ids) => tf.unsortedSegmentSum(x!, ids as tf.Tensor1D, 4),
);
plain("oneHot", [ints(7, 3, 4)], (ids) => tf.oneHot(ids!, 7));
smooth("log-probability of targets by oneHot", [real(2, 3, 7), ints(7, 2, 3)], (logits, targets) => {
  return tf.sum(tf.mul(tf.logSoftmax(logits!), tf.oneHot(targets!, 7)), -1);
});

smooth("slice of rank 2", [real(6, 7)], (x) => tf.slice(x!, [1, 2], [3, -1]));
smooth("slice of rank 3", [real(4, 6, 7)], (x) => tf.slice(x!, [1, 0, 2], [2, 6, 4]));
smooth("slice of rank 4", [real(2, 3, 6, 8)], (x) => tf.slice(x!, [0, 0, 2, 4], [-1, -1, 3, -1]));
plain("stridedSlice", [real(6, 7)], (x) => tf.stridedSlice(x!, [0, 1], [6, 7], [2, 3]));
for (const axis of [0, 1, 2]) {
  smooth(`concat along axis ${axis}`, [real(2, 3, 4), real(2, 3, 4)], (x, y) => tf.concat([x!, y!], axis));
  smooth(`split along axis ${axis}`, [real(4, 4, 4)], (x) => tf.split(x!, 2, axis));
  smooth(`stack along axis ${axis}`, [real(3, 4), real(3, 4)], (x, y) => tf.stack([x!, y!], axis));
  smooth(`unstack along axis ${axis}`, [real(2, 3, 4)], (x) => tf.unstack(x!, axis));
}
plain("concat with no rows", [real(0, 4), real(3, 4)], (x, y) => tf.concat([x!, y!], 0));
smooth("pad", [real(2, 3, 4)], (x) => tf.pad(x!, [[0, 1], [2, 0], [1, 1]], 0.5));
smooth("tile", [real(2, 3)], (x) => tf.tile(x!, [2, 3]));
smooth("broadcastTo", [real(2, 1, 3)], (x) => tf.broadcastTo(x!, [2, 4, 3]));
smooth("expandDims, squeeze and reshape", [real(2, 6)], (x) => {
  return tf.reshape(tf.squeeze(tf.expandDims(x!, 1), [1]), [3, 4]);
});
smooth("reverse", [real(3, 4, 5)], (x) => tf.reverse(x!, [0, 2]));
for (const permutation of permutations(4)) {
  smooth(`transpose [${permutation}]`, [real(2, 3, 4, 5)], (x) => tf.transpose(x!, permutation));
}
for (const permutation of permutations(3)) {
  smooth(`transpose [${permutation}]`, [real(3, 5, 9)], (x) => tf.transpose(x!, permutation));
}
smooth("transpose [1,0]", [real(5, 9)], (x) => tf.transpose(x!));
plain("transpose of integers and bools", [ints(9, 3, 5, 2), bools(4, 6)], (x, y) => [
  tf.transpose(x!, [2, 0, 1]),
  tf.transpose(y!),
]);

smooth("where", [bools(3, 6), real(3, 6), real(3, 6)], (mask, x, y) => tf.where(mask!, x!, y!));
plain(
  "where with a broadcast scalar",
  [bools(3, 6), real(3, 6)],
  (mask, x) => tf.where(mask!, x!, tf.scalar(-1e9)),
);
plain(
  "where with a broadcast mask",
  [bools(2, 1, 5), real(2, 3, 5)],
  (mask, x) => tf.where(mask!, x!, tf.zeros(x!.shape)),
);
plain("made tensors", [], () => [
  tf.range(0, 9, 1, "int32"),
  tf.range(1, 3, 0.5),
  tf.linspace(0, 1, 5),
  tf.fill([2, 3], 1.5),
  tf.fill([2, 3], 7, "int32"),
  tf.zeros([2, 2]),
  tf.ones([2, 2], "int32"),
  tf.eye(4),
  tf.linalg.bandPart(tf.ones([5, 5]), -1, 0),
]);

smooth("RMS norm", [real(2, 5, 8), positive(8)], (x, weight) => {
  return tf.mul(tf.mul(x!, tf.rsqrt(tf.add(tf.mean(tf.square(x!), -1, true), 1e-6))), weight!);
});
smooth("causal attention", [real(2, 3, 5, 4), real(2, 3, 5, 4), real(2, 3, 5, 4)], (q, k, v) => {
  const future = tf.sub(1, tf.linalg.bandPart(tf.ones([5, 5]), -1, 0));
  const scores = tf.add(tf.div(tf.matMul(q!, k!, false, true), 2), tf.mul(future, -1e9));
  const mixed = tf.matMul(tf.softmax(scores), v!);
  return tf.reshape(tf.transpose(mixed, [0, 2, 1, 3]), [2, 5, 12]);
});

function permutations(rank: number): number[][] {
  if (rank === 0) return [[]];
  return permutations(rank - 1).flatMap((rest) =>
    Array.from({ length: rank }, (_, at) => [...rest.slice(0, at), rank - 1, ...rest.slice(at)])
  );
}

interface Result {
  shape: number[];
  dtype: string;
  data: ArrayLike<number>;
}

/** The case's outputs and then its gradients, on the current engine; leaves no tensor behind. */
async function results({ inputs, run, gradient }: Case): Promise<Result[]> {
  const before = tf.memory().numTensors;
  const tensors = tf.tidy(() => {
    const given = inputs.map(({ data, shape, dtype }) => tf.tensor(data, shape, dtype));
    const outputs = [run(...given)].flat();
    if (!gradient) return outputs;
    const weights = outputs.map(({ shape }, i) => {
      const random = randomStream("all_engines_test weights", i, ...shape);
      return tf.tensor(Array.from({ length: tf.util.sizeFromShape(shape) }, random), shape);
    });
    const floating = given.filter(({ dtype }) => dtype === "float32");
    const gradients = tf.grads((...variables: tf.Tensor[]) => {
      let next = 0;
      const again = [run(...given.map((x) => x.dtype === "float32" ? variables[next++]! : x))].flat();
      return tf.addN(again.map((y, i) => tf.sum(tf.mul(y, weights[i]!))));
    })(floating);
    return [...outputs, ...gradients];
  });
  const read = await Promise.all(
    tensors.map(async (t) => ({ shape: t.shape, dtype: t.dtype, data: await t.data() as ArrayLike<number> })),
  );
  tf.dispose(tensors);
  assertEquals(tf.memory().numTensors, before, "tensors were left behind");
  return read;
}

function assertSame(actual: Result[], expected: Result[]): void {
  assertEquals(actual.length, expected.length);
  expected.forEach((want, i) => {
    const got = actual[i]!;
    assertEquals(got.shape, want.shape, `result ${i} has another shape`);
    assertEquals(got.dtype, want.dtype, `result ${i} has another dtype`);
    for (let at = 0; at < want.data.length; at++) {
      const x = got.data[at]!, y = want.data[at]!;
      const close = Object.is(x, y) || Math.abs(x - y) <= 1e-5 * Math.max(1, Math.abs(y));
      assert(close, `result ${i} element ${at} is ${x} and not ${y}`);
    }
  });
}

/** Makes an engine tfjs's current one; returns why not, where this machine lacks it. */
async function use(name: EngineName): Promise<string | undefined> {
  if (name === "webgpu") return await useAnyWebgpu();
  try {
    await openEngine({ engine: name });
    return undefined;
  } catch (error) {
    if (error instanceof InputError) return error.message;
    throw error;
  }
}

/** A software adapter is too slow to work with, but good enough for this suite. */
async function useAnyWebgpu(): Promise<string | undefined> {
  if (await requestAdapter() == null) return "WebGPU finds no adapter";
  await import("@tensorflow/tfjs-backend-webgpu");
  await tf.setBackend("webgpu");
  await tf.ready();
  return undefined;
}

/** Cases that an engine cannot do, and why. */
const lacking: Partial<Record<EngineName, Record<string, string>>> = {
  webgpu: { "sum of nothing": "tfjs-webgpu refuses to reduce an array of no elements" },
};

for (const name of ["tensorflow", "webgpu", "wasm"] as const) {
  Deno.test(`openEngine() "${name}" gives cpu's values and gradients`, async (t) => {
    const reason = await use(name);
    if (reason !== undefined) return console.log(`engine ${name} is left out: ${reason}`);
    for (const [title, one] of Object.entries(cases)) {
      const lack = lacking[name]?.[title];
      const check = async () => {
        await tf.setBackend("cpu");
        const expected = await results(one);
        await tf.setBackend(name);
        assertSame(await results(one), expected);
      };
      await t.step({ name: lack ? `${title}: ${lack}` : title, ignore: lack !== undefined, fn: check });
    }
  });
}
