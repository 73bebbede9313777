import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import * as tf from "@tensorflow/tfjs";
import { randomStream } from "../base/random.ts";
import type { Engine, Step } from "./engine.ts";
import { assertNoLeak } from "./leaks.ts";
import { openEngine } from "./open_engine.ts";
import { needsTensorflow } from "./tensorflow_for_tests.ts";

const needs = await needsTensorflow();

/** A test on an engine of its own, which must leave no tensor behind. */
function tracedTest(name: string, body: (engine: Engine) => void | Promise<void>): void {
  Deno.test({
    name,
    ...needs,
    fn: async () => {
      const engine = await openEngine({ engine: "tensorflow" });
      await assertNoLeak(async () => {
        await body(engine);
      });
      engine.close();
    },
  });
}

function normal(key: string, ...shape: number[]): tf.Tensor {
  const random = randomStream("traced_function_test", key, ...shape);
  return tf.tensor(
    Float32Array.from({ length: tf.util.sizeFromShape(shape) }, () => 2 * random() - 1),
    shape,
  );
}

/**
 * One AdamW step (Loshchilov & Hutter, arXiv 1711.05101, Algorithm 2) on a two-layer perceptron with a softmax loss:
 * inputs lr, step, x_BD, labels_B, then parameters, first and second moments; outputs the loss, then the new ones.
 */
const perceptronStep: Step = (...inputs) => {
  const [lr, count, x_BD, labels_B] = inputs as [tf.Scalar, tf.Scalar, tf.Tensor2D, tf.Tensor1D];
  const state = inputs.slice(4);
  const [w, m, v] = [state.slice(0, 4), state.slice(4, 8), state.slice(8, 12)];
  const { value, grads } = tf.valueAndGrads((...parameters: tf.Tensor[]) => {
    const [w1, b1, w2, b2] = parameters as [tf.Tensor2D, tf.Tensor1D, tf.Tensor2D, tf.Tensor1D];
    const hidden = tf.relu(tf.add(tf.matMul(x_BD, w1), b1));
    const logits = tf.add(tf.matMul(hidden as tf.Tensor2D, w2), b2);
    const targets = tf.oneHot(labels_B, logits.shape.at(-1)!);
    return tf.neg(tf.mean(tf.sum(tf.mul(tf.logSoftmax(logits), targets), -1))) as tf.Scalar;
  })(w);
  const m1 = m.map((m, i) => tf.add(tf.mul(m, 0.9), tf.mul(grads[i]!, 0.1)));
  const v1 = v.map((v, i) => tf.add(tf.mul(v, 0.999), tf.mul(tf.square(grads[i]!), 0.001)));
  const w1 = w.map((w, i) => {
    const mHat = tf.div(m1[i]!, tf.sub(1, tf.pow(0.9, count)));
    const vHat = tf.div(v1[i]!, tf.sub(1, tf.pow(0.999, count)));
    return tf.sub(w, tf.mul(lr, tf.add(tf.div(mHat, tf.add(tf.sqrt(vHat), 1e-8)), tf.mul(w, 0.01))));
  });
  return [value, ...w1, ...m1, ...v1];
};

function perceptronInputs(rows: number, step: number): tf.Tensor[] {
  const shapes = [[6, 16], [16], [16, 3], [3]];
  const labels = tf.tensor1d(Array.from({ length: rows }, (_, i) => i % 3), "int32");
  const zeros = () => shapes.map((shape) => tf.zeros(shape));
  return [
    tf.scalar(0.01),
    tf.scalar(step),
    normal("x", rows, 6),
    labels,
    ...shapes.map((shape, i) => normal(`w${i}`, ...shape)),
    ...zeros(),
    ...zeros(),
  ];
}

async function values(tensors: tf.Tensor[]): Promise<number[][]> {
  return await Promise.all(tensors.map(async (tensor) => [...await tensor.data() as Float32Array]));
}

function assertClose(actual: number[][], expected: number[][], tolerance: number): void {
  assertEquals(actual.map((row) => row.length), expected.map((row) => row.length));
  actual.forEach((row, i) =>
    row.forEach((x, j) =>
      assert(Math.abs(x - expected[i]![j]!) <= tolerance, `${i},${j}: ${x}, ${expected[i]![j]}`)
    )
  );
}

for (const xla of [false, true]) {
  tracedTest(
    `compile() equals the eager step over ten AdamW steps${xla ? ", by XLA" : ""}`,
    async (engine) => {
      const compiled = engine.compile("perceptron", perceptronStep, { xla });
      const [traced, eager] = [perceptronInputs(8, 1), perceptronInputs(8, 1)];
      for (let step = 1; step <= 10; step++) {
        for (const state of [traced, eager]) {
          const count = tf.scalar(step);
          state.splice(1, 1, count)[0]!.dispose();
          const out = state === traced ? compiled(...state) : tf.tidy(() => perceptronStep(...state));
          tf.dispose(state.splice(4));
          state.push(...out.slice(1));
          out[0]!.dispose();
        }
      }
      assertClose(await values(traced), await values(eager), 1e-5);
      assertEquals(compiled.cacheSize, 1);
      tf.dispose([traced, eager]);
    },
  );
}

tracedTest(
  "compile() gives the same bits in every call, the first too, and after another trace",
  async (engine) => {
    const inputs = perceptronInputs(64, 1);
    const runs: number[][][] = [];
    for (let compilation = 0; compilation < 2; compilation++) {
      const compiled = engine.compile("perceptron", perceptronStep);
      for (let call = 0; call < 3; call++) {
        const out = compiled(...inputs);
        runs.push(await values(out));
        tf.dispose(out);
      }
    }
    for (const run of runs) assertEquals(run, runs[0]);
    tf.dispose(inputs);
  },
);

tracedTest("compile() keeps one function for each list of shapes and types", async (engine) => {
  let traces = 0;
  const compiled = engine.compile("double", (x) => {
    traces++;
    return [tf.add(x!, x!)];
  });
  assertEquals(compiled.cacheSize, 0);
  for (
    const [shape, dtype] of [[[2], "float32"], [[3], "float32"], [[2], "int32"], [[2], "float32"]] as const
  ) {
    const x = tf.ones([...shape], dtype);
    const [y] = compiled(x);
    assertEquals([y!.shape, y!.dtype, [...await y!.data()]], [
      [...shape],
      dtype,
      shape[0] === 2 ? [2, 2] : [2, 2, 2],
    ]);
    tf.dispose([x, y!]);
  }
  assertEquals([compiled.cacheSize, traces], [3, 3]);
  compiled.dispose();
  const x = tf.scalar(1);
  assertThrows(() => compiled(x), Error, 'Cannot run step "double": it was disposed');
  x.dispose();
});

tracedTest("compile() uses each call's inputs where two of the first shared their data", async (engine) => {
  const compiled = engine.compile("minus", (a, b) => [tf.sub(a!, b!)]);
  const one = tf.scalar(1), five = tf.scalar(5);
  const outputs = [compiled(one, one), compiled(five, one)].flat();
  assertEquals(await values(outputs), [[0], [4]]);
  assertEquals(compiled.cacheSize, 1);
  tf.dispose([one, five, outputs]);
});

tracedTest("compile() returns inputs, constants and repeated tensors as tensors of their own", async () => {
  const step: Step = (x) => {
    const y = tf.square(x!);
    return [x!, y, y, tf.tensor1d([7, 8]), tf.scalar(3, "int32")];
  };
  for (const name of ["cpu", "tensorflow"] as const) {
    const compiled = (await openEngine({ engine: name })).compile("same", step);
    const x = tf.tensor1d([2, 3]);
    const outputs = compiled(x);
    x.dispose();
    assertEquals(await values(outputs), [[2, 3], [4, 9], [4, 9], [7, 8], [3]]);
    for (const output of outputs) output.dispose();
  }
});

tracedTest(
  "compile() takes operations with lists of inputs, integers, booleans and strings of attributes",
  async (engine) => {
    const step: Step = (a, b) => [
      tf.concat([a!, b!, a!], 0),
      tf.stack([a!, b!], 1),
      tf.addN([a!, b!, a!]),
      tf.einsum("ij,jk->ik", a!, b!),
      tf.stridedSlice(a!, [0, 0], [2, 2], [1, 2]),
      tf.where(tf.greater(a!, b!), a!, b!),
      tf.gather(a!, tf.tensor1d([1, 0, 1], "int32")),
      tf.pad(a!, [[1, 0], [0, 1]]),
      tf.topk(a!, 1).values,
      tf.cumsum(a!, 1),
      tf.cast(tf.logicalNot(tf.cast(a!, "bool")), "float32"),
      ...tf.split(b!, 2, 1),
    ];
    const compiled = engine.compile("lists", step);
    const a = tf.tensor2d([[1, 0], [3, 4]]), b = tf.tensor2d([[5, 6], [2, 8]]);
    const outputs = compiled(a, b);
    const expected = tf.tidy(() => step(a, b));
    assertEquals(outputs.map((out) => out.shape), expected.map((out) => out.shape));
    assertEquals(await values(outputs), await values(expected));
    tf.dispose([a, b, outputs, expected]);
  },
);

tracedTest("compile() never disposes the inputs, though the step does", async (engine) => {
  const compiled = engine.compile("greedy", (x) => {
    const y = tf.add(x!, 1);
    x!.dispose();
    return [y];
  });
  const x = tf.scalar(1);
  const outputs = [...compiled(x), ...compiled(x)];
  assertEquals(await values([x, ...outputs]), [[1], [2], [2]]);
  tf.dispose([x, outputs]);
});

const outside = { uploaded: () => tf.add(tf.scalar(1), 1), waiting: () => tf.scalar(2), input: undefined };
for (const [what, make] of Object.entries(outside)) {
  tracedTest(`compile() refuses a tensor from outside: ${what}`, (engine) => {
    const x = tf.scalar(3);
    const captured = make ? tf.tidy(make) : x;
    const compiled = engine.compile("closure", (x) => [tf.mul(x!, captured)]);
    assertThrows(
      () => compiled(x),
      Error,
      'Cannot trace step "closure": it uses a tensor from outside that is no input',
    );
    const returned = engine.compile("closure", () => [captured]);
    assertThrows(() => returned(x), Error, "pass it as an argument");
    assertEquals(compiled.cacheSize, 0);
    tf.dispose([x, captured]);
  });
}

tracedTest("compile() refuses a read-back, a random draw, and anything but an array of tensors", (engine) => {
  const refused: [Step, string][] = [
    [(x) => (x!.dataSync(), [x!]), "it reads a tensor's values"],
    [(x) => (void x!.data(), [x!]), "it reads a tensor's values"],
    [(x) => [tf.add(x!, tf.randomUniform([2]))], "it draws random numbers"],
    [(x) => [tf.add(x!, Math.random())], "it draws random numbers"],
    [(x) => [tf.multinomial(x as tf.Tensor1D, 3, 5)], "Cannot trace Multinomial: it keeps state"],
    [(x) => tf.add(x!, 1) as unknown as tf.Tensor[], "it must return an array of tensors"],
    [(x) => [tf.add(x!, 1), 5 as unknown as tf.Tensor], "it must return an array of tensors"],
  ];
  const x = tf.tensor1d([1, 2]);
  for (const [step, message] of refused) {
    const error = assertThrows(() => engine.compile("wrong", step)(x), Error, message);
    assert(!error.message.includes("\n"));
  }
  assertStringIncludes(String(Math.random()), "0"); // the guard is gone
  tf.dispose(x);
});

tracedTest("compile() refuses another number of outputs for other shapes", (engine) => {
  const compiled = engine.compile("ragged", (x) => tf.unstack(x!));
  const [two, three] = [tf.zeros([2]), tf.zeros([3])];
  tf.dispose(compiled(two));
  assertThrows(() => compiled(three), Error, "it returned 3 outputs, and 2 for other shapes");
  tf.dispose([two, three]);
});

tracedTest("compile() refuses a compiled step inside another, and another backend", async (engine) => {
  const inner = engine.compile("inner", (x) => [tf.add(x!, 1)]);
  const outer = engine.compile("outer", (x) => inner(x!));
  const x = tf.scalar(1);
  assertThrows(() => outer(x), Error, 'Cannot run compiled step "inner" inside a step that is traced');
  await openEngine({ engine: "cpu" });
  assertThrows(() => inner(x), Error, `tfjs's backend is "cpu"`);
  await openEngine({ engine: "tensorflow" });
  tf.dispose(x);
});

tracedTest("compile() leaves nothing behind when the step throws, and works afterwards", async (engine) => {
  let fail = true;
  const compiled = engine.compile("shaky", (x) => {
    const y = tf.square(x!);
    if (fail) throw new Error("not yet");
    return [y];
  });
  const x = tf.scalar(3);
  await assertNoLeak(() => void assertThrows(() => compiled(x), Error, "not yet"));
  fail = false;
  const outputs = compiled(x);
  assertEquals(await values(outputs), [[9]]);
  tf.dispose([x, outputs]);
});

tracedTest("close() ends the engine's compiled steps", async () => {
  const engine = await openEngine({ engine: "tensorflow" });
  const compiled = engine.compile("last", (x) => [tf.add(x!, 1)]);
  const x = tf.scalar(1);
  tf.dispose(compiled(x));
  engine.close();
  assertThrows(() => compiled(x), Error, "it was disposed");
  x.dispose();
});
