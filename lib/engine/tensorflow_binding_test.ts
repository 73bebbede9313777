import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import * as tf from "@tensorflow/tfjs";
import { assertNoLeak } from "./leaks.ts";
import { openEngine } from "./open_engine.ts";
import type { TensorflowBackend } from "./tensorflow_backend.ts";
import type { TensorflowBinding } from "./tensorflow_binding.ts";
import { needsTensorflow } from "./tensorflow_for_tests.ts";

const needs = await needsTensorflow();

/** A test on the binding itself, which must leave no tensor in the library. */
function bindingTest(name: string, body: (binding: TensorflowBinding) => void | Promise<void>): void {
  Deno.test({
    name,
    ...needs,
    fn: async () => {
      await openEngine({ engine: "tensorflow" });
      const { binding } = tf.backend() as TensorflowBackend;
      const before = binding.getNumOfTensors();
      await assertNoLeak(async () => {
        await body(binding);
      });
      assertEquals(binding.getNumOfTensors(), before);
    },
  });
}

const bytes = (text: string) => new TextEncoder().encode(text);

bindingTest("createTensor() and tensorDataSync() keep values of every type", (binding) => {
  const cases = [
    [[2, 2], binding.TF_FLOAT, Float32Array.of(1.5, -0, NaN, Infinity)],
    [[3], binding.TF_INT32, Int32Array.of(-1, 2 ** 31 - 1, 0)],
    [[2], binding.TF_BOOL, Uint8Array.of(1, 0)],
    [[2], binding.TF_COMPLEX64, Float32Array.of(1, 2, 3, 4)],
    [[0, 3], binding.TF_FLOAT, new Float32Array(0)],
    [[], binding.TF_INT32, Int32Array.of(7)],
    [[2, 2], binding.TF_STRING, ["", "é", "short", "x".repeat(1000)].map(bytes)],
  ] as const;
  for (const [shape, dtype, values] of cases) {
    const id = binding.createTensor([...shape], dtype, values as Float32Array);
    assertEquals(binding.tensorDataSync(id), values as Float32Array);
    binding.deleteTensor(id);
  }
});

bindingTest("createTensor() refuses values that do not fill the shape, and unknown types", (binding) => {
  assertThrows(
    () => binding.createTensor([3], binding.TF_FLOAT, Float32Array.of(1)),
    Error,
    "Cannot make a tensor of shape [3] and TF_DataType 1 from 4 bytes: it takes 12",
  );
  assertThrows(() => binding.createTensor([1], 99, Float32Array.of(1)), Error, "the type is not supported");
});

bindingTest("executeOp() reports what failed and goes on working", (binding) => {
  const id = binding.createTensor([2], binding.TF_FLOAT, Float32Array.of(1, 2));
  const type = { name: "T", type: binding.TF_ATTR_TYPE, value: binding.TF_FLOAT };
  assertThrows(() => binding.executeOp("NoSuchOp", [], [id], 1), Error, "NoSuchOp");
  assertThrows(() => binding.executeOp("MatMul", [type], [id, id], 1), Error, "MatMul failed: ");
  assertThrows(() => binding.executeOp("Neg", [type], [id + 1000], 1), Error, "it was deleted or never made");
  assertThrows(
    () => binding.executeOp("Neg", [{ name: "T", type: 77, value: 1 }], [id], 1),
    Error,
    'Cannot set attribute "T": its kind 77 is unknown',
  );
  const [negated] = binding.executeOp("Neg", [type], [id], 1);
  assertEquals(binding.tensorDataSync(negated!.id), Float32Array.of(-1, -2));
  binding.deleteTensor(id);
  binding.deleteTensor(negated!.id);
});

bindingTest("executeOp() takes a list of types and gives several outputs", (binding) => {
  const ids = [
    binding.createTensor([1], binding.TF_FLOAT, Float32Array.of(1)),
    binding.createTensor([], binding.TF_BOOL, Uint8Array.of(1)),
    binding.createTensor([1], binding.TF_STRING, [bytes("a string longer than twenty-four bytes")]),
  ];
  const types = [binding.TF_FLOAT, binding.TF_BOOL, binding.TF_STRING];
  const attributes = [{ name: "T", type: binding.TF_ATTR_TYPE, value: types }];
  const outputs = binding.executeOp("IdentityN", attributes, ids, 3);
  for (const id of ids) binding.deleteTensor(id);
  assertEquals(outputs.map(({ shape, dtype }) => [shape, dtype]), [[[1], 1], [[], 10], [[1], 7]]);
  assertEquals(binding.tensorDataSync(outputs[2]!.id), [bytes("a string longer than twenty-four bytes")]);
  for (const { id } of outputs) binding.deleteTensor(id);
});

bindingTest("executeOp() sets lists of integers and floats, strings and shapes", (binding) => {
  const { TF_ATTR_FLOAT, TF_ATTR_INT, TF_ATTR_STRING, TF_ATTR_SHAPE, TF_ATTR_TYPE } = binding;
  const x = binding.createTensor([1, 4, 1], binding.TF_FLOAT, Float32Array.of(1, 2, 3, 4));
  const [shaped] = binding.executeOp(
    "EnsureShape",
    [
      { name: "T", type: TF_ATTR_TYPE, value: binding.TF_FLOAT },
      { name: "shape", type: TF_ATTR_SHAPE, value: [1, 4, -1] },
    ],
    [x],
    1,
  );
  assertEquals(shaped!.shape, [1, 4, 1]);
  const image = binding.createTensor([1, 2, 2, 1], binding.TF_FLOAT, Float32Array.of(1, 2, 3, 4));
  const [pooled] = binding.executeOp(
    "MaxPool",
    [
      { name: "T", type: TF_ATTR_TYPE, value: binding.TF_FLOAT },
      { name: "ksize", type: TF_ATTR_INT, value: [1, 2, 2, 1] },
      { name: "strides", type: TF_ATTR_INT, value: [1, 2, 2, 1] },
      { name: "padding", type: TF_ATTR_STRING, value: "VALID" },
    ],
    [image],
    1,
  );
  assertEquals(binding.tensorDataSync(pooled!.id), Float32Array.of(4));
  // Bucketize has a list of floats for its boundaries.
  const [buckets] = binding.executeOp(
    "Bucketize",
    [
      { name: "T", type: TF_ATTR_TYPE, value: binding.TF_FLOAT },
      { name: "boundaries", type: TF_ATTR_FLOAT, value: [1.5, 3.5] },
    ],
    [x],
    1,
  );
  assertEquals(binding.tensorDataSync(buckets!.id), Int32Array.of(0, 1, 1, 2));
  const [leaked] = binding.executeOp(
    "LeakyRelu",
    [
      { name: "T", type: TF_ATTR_TYPE, value: binding.TF_FLOAT },
      { name: "alpha", type: TF_ATTR_FLOAT, value: 0.5 },
    ],
    [x],
    1,
  );
  assertEquals(binding.tensorDataSync(leaked!.id), Float32Array.of(1, 2, 3, 4));
  for (const id of [x, image, shaped!.id, pooled!.id, buckets!.id, leaked!.id]) binding.deleteTensor(id);
});

bindingTest("tfjs keeps strings, booleans and complex numbers on tensorflow", async () => {
  const texts = ["héllo", "", "a text that is longer than twenty-four bytes"];
  const words = tf.tensor1d(texts);
  const joined = tf.tidy(() => tf.concat([words, words.slice(1, 1)]));
  assertEquals(await joined.data() as unknown as string[], [...texts, ""]);
  const mask = tf.tensor1d([true, false]), inverse = tf.logicalNot(mask);
  assertEquals([...await inverse.data()], [0, 1]);
  const complex = tf.tidy(() => tf.complex([1, 2], [3, 4]));
  assertEquals([...await complex.data()], [1, 3, 2, 4]);
  tf.dispose([words, joined, mask, inverse, complex]);
});

bindingTest("tf.gather() refuses an index beyond its table", async () => {
  const table = tf.tensor1d([1, 2, 3]), indices = tf.tensor1d([0, 3], "int32");
  await assertRejects(
    () => Promise.resolve().then(() => tf.gather(table, indices)),
    Error,
    "index value 3 is not in [0, 2]",
  );
  tf.dispose([table, indices]);
});

bindingTest("a hundred thousand strings leave nothing behind", (binding) => {
  for (let round = 0; round < 100; round++) {
    const strings = Array.from(
      { length: 1000 },
      (_, i) => bytes(`string number ${i} of round ${round}, long enough`),
    );
    binding.deleteTensor(binding.createTensor([1000], binding.TF_STRING, strings));
  }
});

Deno.test({
  name: "openEngine() computes with as many threads as it is told, the first time in a process",
  ...needs,
  async fn() {
    const module = new URL("./open_engine.ts", import.meta.url).href;
    const script = `import { openEngine } from ${JSON.stringify(module)};
      const [first, second] = [await openEngine({ threads: 1 }), await openEngine({ threads: 3 })];
      console.log(JSON.stringify([first.threads, second.threads, second.notes]));`;
    const args = ["eval", script];
    const { stdout, stderr } = await new Deno.Command(Deno.execPath(), { args }).output();
    assertEquals(new TextDecoder().decode(stderr), "", "TensorFlow's own log was not held back");
    assertEquals(JSON.parse(new TextDecoder().decode(stdout)), [
      1,
      1,
      ["3 threads are not used: this process computes with 1 already"],
    ]);
  },
});
