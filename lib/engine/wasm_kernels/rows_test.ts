import { assertEquals, assertThrows } from "@std/assert";
import * as tf from "@tensorflow/tfjs";
import "@tensorflow/tfjs-backend-wasm";
import fc from "fast-check";
import { registerWasmKernels } from "./register.ts";

async function useWasm(): Promise<void> {
  await tf.setBackend("wasm");
  await tf.ready();
  await registerWasmKernels();
}

Deno.test("unsortedSegmentSum() on wasm adds each row to its segment and drops ids outside", async () => {
  await useWasm();
  const before = tf.memory().numTensors;
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: -2, max: 9 }), { maxLength: 40 }),
      fc.integer({ min: 0, max: 8 }),
      fc.integer({ min: 0, max: 9 }),
      (ids, segments, width) => {
        const rows = ids.map((_, r) => Array.from({ length: width }, (_, w) => (r * 7 + w * 3) % 11 - 5));
        const expected = Array.from({ length: segments * width }, (_, at) => {
          const segment = Math.floor(at / width);
          return rows.reduce((sum, row, r) => ids[r] === segment ? sum + row[at % width]! : sum, 0);
        });
        const actual = tf.tidy(() =>
          tf.unsortedSegmentSum(
            tf.tensor(rows.flat(), [ids.length, width]),
            tf.tensor1d(ids, "int32"),
            segments,
          ).dataSync()
        );
        assertEquals([...actual], expected);
      },
    ),
    { numRuns: 200, seed: 1 },
  );
  assertEquals(tf.memory().numTensors, before);
});

Deno.test("unsortedSegmentSum() on wasm is the gradient of gather", async () => {
  await useWasm();
  const before = tf.memory().numTensors;
  const gradient = tf.tidy(() => {
    const indices = tf.tensor2d([[1, 3, 1], [0, 1, 4]], [2, 3], "int32");
    const weights = tf.tensor3d([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12], [2, 3, 2]);
    return tf.grad((table: tf.Tensor) => tf.gather(table, indices).mul(weights).sum())(tf.ones([5, 2]))
      .arraySync();
  });
  assertEquals(gradient, [[7, 8], [1 + 5 + 9, 2 + 6 + 10], [0, 0], [3, 4], [11, 12]]);
  assertEquals(tf.memory().numTensors, before);
});

Deno.test("unsortedSegmentSum() on wasm refuses integers", async () => {
  await useWasm();
  assertThrows(
    () => tf.tidy(() => tf.unsortedSegmentSum(tf.ones([2], "int32"), tf.tensor1d([0, 1], "int32"), 2)),
    Error,
    "cast to float32",
  );
});

Deno.test("gather() on wasm names the place of an index outside, and leaves nothing behind", async () => {
  await useWasm();
  const before = tf.memory().numTensors;
  for (const index of [-1, 3]) {
    assertThrows(
      () => tf.tidy(() => tf.gather(tf.ones([3, 2]), tf.tensor1d([0, index], "int32"))),
      Error,
      "Cannot gather from 3 rows: index 1",
    );
  }
  assertEquals(tf.memory().numTensors, before);
});

Deno.test("slice(), split() and concat() on wasm undo one another on every axis and dtype", async () => {
  await useWasm();
  const before = tf.memory().numTensors;
  const dtypes = fc.constantFrom("float32" as const, "int32" as const, "bool" as const);
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 0, max: 6 }), { minLength: 1, maxLength: 5 }),
      fc.nat(),
      fc.nat(),
      dtypes,
      (shape, which, where, dtype) => {
        const axis = which % shape.length, at = where % (shape[axis]! + 1);
        const numbers = Array.from({ length: tf.util.sizeFromShape(shape) }, (_, i) => (i * 7) % 11 % 2);
        const again = tf.tidy(() => {
          const x = tf.tensor(numbers, shape, dtype);
          const [head, tail] = tf.split(x, [at, shape[axis]! - at], axis) as [tf.Tensor, tf.Tensor];
          const begin = shape.map((_, d) => d === axis ? at : 0);
          assertEquals([...tf.slice(x, begin, tail.shape).dataSync()], [...tail.dataSync()]);
          return tf.concat([head, tail], axis).dataSync();
        });
        assertEquals([...again], numbers);
      },
    ),
    { numRuns: 200, seed: 1 },
  );
  assertEquals(tf.memory().numTensors, before);
});

Deno.test("slice() on wasm cuts boxes on several axes", async () => {
  await useWasm();
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(3), fc.nat(3), fc.nat(3)), { minLength: 1, maxLength: 4 }),
      (axes) => {
        const shape = axes.map(([before, size, after]) => before + size + after);
        const begin = axes.map(([before]) => before), size = axes.map(([, size]) => size);
        const strides = shape.map((_, d) => tf.util.sizeFromShape(shape.slice(d + 1)));
        const expected = Array.from(
          { length: tf.util.sizeFromShape(size) },
          (_, i) =>
            size.reduce((sum, own, d) => {
              const place = Math.floor(i / tf.util.sizeFromShape(size.slice(d + 1))) % own;
              return sum + (begin[d]! + place) * strides[d]!;
            }, 0),
        );
        const out = tf.tidy(() =>
          tf.slice(tf.reshape(tf.range(0, tf.util.sizeFromShape(shape), 1, "int32"), shape), begin, size)
            .dataSync()
        );
        assertEquals([...out], expected);
      },
    ),
    { numRuns: 200, seed: 1 },
  );
});
