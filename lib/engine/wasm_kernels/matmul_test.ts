import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import * as tf from "@tensorflow/tfjs";
import "@tensorflow/tfjs-backend-wasm";
import fc from "fast-check";
import { randomStream } from "../../base/random.ts";
import { address, instantiateKernels, type WasmBackend } from "./heap.ts";
import { registerWasmKernels } from "./register.ts";

async function useWasm(): Promise<void> {
  await tf.setBackend("wasm");
  await tf.ready();
  await registerWasmKernels();
}

interface Operand {
  shape: number[];
  data: Float32Array;
}

function operand(shape: number[], seed: number): Operand {
  const random = randomStream("matmul_test", seed, ...shape);
  return { shape, data: Float32Array.from({ length: tf.util.sizeFromShape(shape) }, () => 2 * random() - 1) };
}

/** a · b in double precision by the definition: out[i,j] = Σ_d a[i,d] b[d,j], batch dimensions broadcast. */
function reference(a: Operand, b: Operand, transposeA: boolean, transposeB: boolean): Float64Array {
  const [m, k] = sizes(a.shape, transposeA), [, n] = sizes(b.shape, transposeB);
  const batch = tf.broadcast_util.assertAndGetBroadcastShape(a.shape.slice(0, -2), b.shape.slice(0, -2));
  const count = tf.util.sizeFromShape(batch);
  const out = new Float64Array(count * m * n);
  for (let index = 0; index < count; index++) {
    const aBase = matrixOf(index, batch, a.shape.slice(0, -2)) * m * k;
    const bBase = matrixOf(index, batch, b.shape.slice(0, -2)) * k * n;
    for (let i = 0; i < m; i++) {
      for (let j = 0; j < n; j++) {
        let sum = 0;
        for (let d = 0; d < k; d++) {
          sum += a.data[aBase + (transposeA ? d * m + i : i * k + d)]! *
            b.data[bBase + (transposeB ? j * k + d : d * n + j)]!;
        }
        out[(index * m + i) * n + j] = sum;
      }
    }
  }
  return out;
}

function sizes(shape: number[], transpose: boolean): [number, number] {
  const [rows, columns] = shape.slice(-2) as [number, number];
  return transpose ? [columns, rows] : [rows, columns];
}

function matrixOf(index: number, batch: number[], own: number[]): number {
  const at = batch.map((size, d) => Math.floor(index / tf.util.sizeFromShape(batch.slice(d + 1))) % size);
  return own.reduce((sum, size, d) => sum * size + (size === 1 ? 0 : at[d + batch.length - own.length]!), 0);
}

function assertClose(actual: ArrayLike<number>, expected: ArrayLike<number>, tolerance: number): void {
  assertEquals(actual.length, expected.length);
  for (let i = 0; i < actual.length; i++) {
    assert(
      Math.abs(actual[i]! - expected[i]!) <= tolerance,
      `element ${i} is ${actual[i]} and not ${expected[i]}`,
    );
  }
}

function product(a: Operand, b: Operand, transposeA: boolean, transposeB: boolean): Float32Array {
  const before = tf.memory().numTensors;
  const data = tf.tidy(() =>
    tf.matMul(tf.tensor(a.data, a.shape), tf.tensor(b.data, b.shape), transposeA, transposeB).dataSync()
  ) as Float32Array;
  assertEquals(tf.memory().numTensors, before);
  return data;
}

const matrix = (batch: number[], rows: number, columns: number, transpose: boolean) =>
  transpose ? [...batch, columns, rows] : [...batch, rows, columns];

Deno.test("matMul() on wasm equals the definition for every shape, transpose and batch", async () => {
  await useWasm();
  const size = fc.oneof(fc.integer({ min: 0, max: 20 }), fc.constantFrom(31, 64, 67, 130));
  const depth = fc.oneof(size, fc.constantFrom(511, 512, 513, 1027));
  const batches = fc.constantFrom<[number[], number[]]>(
    [[], []],
    [[3], [3]],
    [[3], [1]],
    [[1], [3]],
    [[0], [0]],
    [[2, 3], [2, 3]],
    [[2, 1], [1, 3]],
    [[2, 3], [3]],
    [[], [2]],
  );
  fc.assert(
    fc.property(
      size,
      size,
      depth,
      batches,
      fc.boolean(),
      fc.boolean(),
      fc.nat(),
      (m, n, k, batch, ta, tb, seed) => {
        const a = operand(matrix(batch[0], m, k, ta), seed),
          b = operand(matrix(batch[1], k, n, tb), seed + 1);
        assertClose(product(a, b, ta, tb), reference(a, b, ta, tb), 1e-5 * Math.max(8, Math.sqrt(k)));
      },
    ),
    { numRuns: 200, seed: 1 },
  );
});

Deno.test("matMul() on wasm is right beyond one block of rows, columns and depth", async () => {
  await useWasm();
  for (const [m, n, k] of [[261, 103, 519], [5, 1031, 20]] as const) {
    for (const [ta, tb] of [[false, false], [false, true], [true, false], [true, true]] as const) {
      const a = operand(matrix([], m, k, ta), 3), b = operand(matrix([], k, n, tb), 4);
      assertClose(product(a, b, ta, tb), reference(a, b, ta, tb), 3e-4);
    }
  }
});

Deno.test("matMul() on wasm keeps NaN and infinity in their own rows and columns", async () => {
  await useWasm();
  const a = operand([5, 6], 5), b = operand([6, 9], 6);
  a.data[0] = NaN;
  a.data[6] = Infinity;
  const out = product(a, b, false, false), expected = reference(a, b, false, false);
  for (let i = 0; i < out.length; i++) {
    if (Number.isFinite(expected[i])) assert(Math.abs(out[i]! - expected[i]!) < 1e-5);
    else assertEquals(out[i], expected[i]);
  }
});

Deno.test("matMul() on wasm takes over nothing of the product before, nor of a next row", async () => {
  await useWasm();
  const ones = (rows: number, columns: number, transpose: boolean) =>
    tf.ones<tf.Rank.R2>(transpose ? [columns, rows] : [rows, columns]);
  for (const [m, n, k] of [[5, 20, 3], [5, 20, 9], [7, 16, 35]] as const) {
    for (const [ta, tb] of [[false, false], [false, true], [true, false], [true, true]] as const) {
      tf.tidy(() => {
        tf.matMul(tf.fill([256, 300], NaN), tf.fill([256, 48], NaN), true); // all of the scratch space
        const out = tf.matMul(ones(m, k, ta), ones(k, n, tb), ta, tb).dataSync();
        assertEquals([...out], Array(m * n).fill(k));
      });
    }
    tf.tidy(() => {
      const a = tf.concat([tf.ones([m - 1, k]), tf.fill([1, k], NaN)]);
      const out = tf.matMul(a, tf.ones([k, n])).dataSync();
      assertEquals([...out.slice(0, -n)], Array((m - 1) * n).fill(k));
      assert(out.slice(-n).every(Number.isNaN));
    });
  }
});

Deno.test("matmul() needs the scratch space that it asks for, and no more", async () => {
  await useWasm();
  const backend = tf.backend() as WasmBackend;
  for (const wide of [false, true]) {
    const kernels = await instantiateKernels(backend, wide), bytes = kernels.scratchBytes(), guard = 4096;
    const scratch = backend.wasm._malloc(bytes + guard);
    const [a, b, out] = [tf.ones([256, 256]), tf.ones([256, 1024]), tf.zeros([256, 1024])];
    const [atA, atB, atOut] = [a, b, out].map((tensor) => address(backend, tensor));
    const behind = () => new Uint8Array(backend.wasm.asm.memory.buffer, scratch + bytes, guard);
    behind().fill(7);
    kernels.matmul(atA!, atB!, atOut!, 1, 256, 1024, 256, 0, 1, 256, 0, 1024, 1, 0, scratch); // a transposed
    assert(behind().every((byte) => byte === 7));
    assert((await out.data()).every((value) => value === 256));
    backend.wasm._free(scratch);
    tf.dispose([a, b, out]);
  }
});

Deno.test("matmul() has the same bits by wide tiles as by narrow ones", async () => {
  await useWasm();
  const backend = tf.backend() as WasmBackend;
  const narrow = await instantiateKernels(backend, false), wide = await instantiateKernels(backend, true);
  const bytes = narrow.scratchBytes(), scratch = backend.wasm._malloc(bytes);
  const size = fc.oneof(fc.integer({ min: 1, max: 20 }), fc.constantFrom(31, 64, 67, 130, 261, 300));
  const depth = fc.oneof(size, fc.constantFrom(96, 120, 511, 512, 513));
  fc.assert(
    fc.property(
      size,
      size,
      depth,
      fc.boolean(),
      fc.boolean(),
      fc.boolean(),
      fc.nat(),
      (m, n, k, ta, tb, biased, seed) => {
        const tensors = [[2, m, k], [2, k, n], [n], [2, m, n]].map((shape, i) =>
          tf.tensor(operand(shape, seed + i).data, shape)
        );
        const [a, b, bias, out] = tensors.map((tensor) => address(backend, tensor));
        const [narrowBits, wideBits] = [narrow, wide].map((kernels) => {
          new Float32Array(backend.wasm.asm.memory.buffer, scratch, bytes / 4).fill(NaN);
          new Float32Array(backend.wasm.asm.memory.buffer, out!, 2 * m * n).fill(NaN);
          const [aRow, aCol] = ta ? [1, m] : [k, 1], [bRow, bCol] = tb ? [1, k] : [n, 1];
          kernels.matmul(
            a!,
            b!,
            out!,
            2,
            m,
            n,
            k,
            m * k,
            aRow!,
            aCol!,
            k * n,
            bRow!,
            bCol!,
            biased ? bias! : 0,
            scratch,
          );
          return new Int32Array(backend.wasm.asm.memory.buffer, out!, 2 * m * n).slice();
        });
        assertEquals(wideBits, narrowBits);
        tf.dispose(tensors);
      },
    ),
    { numRuns: 200, seed: 1 },
  );
  backend.wasm._free(scratch);
});

Deno.test("matMul() on wasm has the gradients of the product", async () => {
  await useWasm();
  for (const [ta, tb] of [[false, false], [false, true], [true, false], [true, true]] as const) {
    const a = operand(matrix([4], 9, 7, ta), 7), b = operand(matrix([4], 7, 11, tb), 8);
    const weight = operand([4, 9, 11], 9);
    const gradients = tf.tidy(() =>
      tf.grads((x: tf.Tensor, y: tf.Tensor) =>
        tf.matMul(x, y, ta, tb).mul(tf.tensor(weight.data, weight.shape)).sum()
      )(
        [tf.tensor(a.data, a.shape), tf.tensor(b.data, b.shape)],
      ).map((gradient) => gradient.dataSync())
    );
    // d/dA Σ W ∘ (A·B) = W·Bᵀ and d/dB = Aᵀ·W, transposed where the operand was.
    const dA = ta ? reference(b, weight, tb, true) : reference(weight, b, false, !tb);
    const dB = tb ? reference(weight, a, true, ta) : reference(a, weight, !ta, false);
    assertClose(gradients[0]!, dA, 1e-5);
    assertClose(gradients[1]!, dB, 1e-5);
  }
});

Deno.test("fused.matMul() on wasm adds the bias and applies the activation", async () => {
  await useWasm();
  const a = operand([7, 5], 10), b = operand([5, 10], 11), bias = operand([10], 12);
  const plain = reference(a, b, false, false).map((value, i) => value + bias.data[i % 10]!);
  const activations: Record<string, (x: number) => number> = {
    linear: (x) => x,
    relu: (x) => Math.max(x, 0),
    relu6: (x) => Math.min(Math.max(x, 0), 6),
    elu: (x) => x > 0 ? x : Math.expm1(x),
    sigmoid: (x) => 1 / (1 + Math.exp(-x)),
    leakyrelu: (x) => x > 0 ? x : 0.3 * x,
    prelu: (x) => x > 0 ? x : 0.25 * x,
  };
  const before = tf.memory().numTensors;
  for (const [activation, apply] of Object.entries(activations)) {
    const out = tf.tidy(() =>
      tf.fused.matMul({
        a: tf.tensor2d(a.data, [7, 5]),
        b: tf.tensor2d(b.data, [5, 10]),
        bias: tf.tensor1d(bias.data),
        activation: activation as tf.fused.Activation,
        leakyreluAlpha: 0.3,
        ...(activation === "prelu" ? { preluActivationWeights: tf.fill([10], 0.25) } : {}),
      }).dataSync()
    );
    assertClose(out, plain.map(apply), 1e-5);
  }
  assertEquals(tf.memory().numTensors, before);
});

Deno.test("fused.matMul() on wasm adds the bias once, whatever the depth and the columns", async () => {
  await useWasm();
  for (const [m, n, k] of [[5, 16, 8], [7, 24, 300], [4, 35, 257], [300, 16, 513], [6, 1031, 3]] as const) {
    const a = operand([m, k], 13), b = operand([k, n], 14), bias = operand([n], 15);
    const out = tf.tidy(() =>
      tf.fused.matMul({
        a: tf.tensor2d(a.data, [m, k]),
        b: tf.tensor2d(b.data, [k, n]),
        bias: tf.tensor1d(bias.data),
      }).dataSync()
    );
    assertClose(out, reference(a, b, false, false).map((value, i) => value + bias.data[i % n]!), 3e-4);
  }
});

Deno.test("matMul() on wasm refuses integers", async () => {
  await useWasm();
  assertThrows(
    () => tf.tidy(() => tf.matMul(tf.ones([2, 2], "int32"), tf.ones([2, 2], "int32"))),
    Error,
    "cast both to float32",
  );
});

Deno.test("matMul() on wasm leaves no memory behind, and survives the heap's growth", async () => {
  await useWasm();
  const memory =
    (tf.backend() as unknown as { wasm: { asm: { memory: WebAssembly.Memory } } }).wasm.asm.memory;
  const a = tf.ones<tf.Rank.R2>([300, 300]);
  const repeat = (times: number) => {
    for (let i = 0; i < times; i++) tf.fused.matMul({ a, b: a, activation: "relu" }).dispose();
  };
  repeat(5);
  const bytes = memory.buffer.byteLength;
  repeat(200);
  assertEquals(memory.buffer.byteLength, bytes);
  const large = tf.zeros([bytes / 4]);
  assert(memory.buffer.byteLength > bytes);
  const out = tf.matMul(a, a);
  assertEquals((await out.data()).every((value) => value === 300), true);
  tf.dispose([a, large, out]);
});

Deno.test("registerWasmKernels() makes a full heap an error", async () => {
  await useWasm();
  const before = tf.memory().numTensors;
  const wide = () => tf.tidy(() => tf.tile(tf.ones([1000, 1000]), [2000, 1]));
  assertThrows(wide, Error, "Cannot allocate 8000000000 bytes");
  assertEquals(tf.memory().numTensors, before);
});

Deno.test("registerWasmKernels() can be called again", async () => {
  await useWasm();
  await registerWasmKernels();
  assertEquals([...product(operand([1, 1], 1), operand([1, 1], 2), false, false)].length, 1);
});

Deno.test("registerWasmKernels() refuses another backend", async () => {
  await tf.setBackend("cpu");
  await assertRejects(() => registerWasmKernels(), Error, 'backend "cpu"');
});
