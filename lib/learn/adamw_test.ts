import { assertAlmostEquals, assertEquals } from "@std/assert";
import * as tf from "@tensorflow/tfjs";
import { onEngines } from "../../tests/engines.ts";
import { assertNoLeak } from "../engine/leaks.ts";
import { adamwStep, globalNorm } from "./adamw.ts";

Deno.test("adamwStep() moves every parameter by the learning rate at the first step, whatever the gradient", async () => {
  await onEngines(async () => {
    await assertNoLeak(async () => {
      const [params, grads] = [tf.tensor([1, 2]), tf.tensor([1e-3, -50])];
      const zeros = tf.zeros([2]);
      const scalars = { learningRate: tf.scalar(0.1), step: tf.scalar(1) };
      const out = adamwStep([params], [grads], [zeros], [zeros], scalars);
      const [first, second] = await out.params[0]!.data();
      assertAlmostEquals(first!, 0.9, 1e-5);
      assertAlmostEquals(second!, 2.1, 1e-5);
      assertEquals([...await params.data()], [1, 2]);
      tf.dispose([params, grads, zeros, scalars.learningRate, scalars.step]);
      tf.dispose([out.params, out.m, out.v, out.gradNorm]);
    });
  });
});

Deno.test("adamwStep() keeps its bias correction exact after many steps", async () => {
  await onEngines(async () => {
    const one = tf.tensor([1]);
    const [zero, moment] = [tf.tensor([0]), tf.tensor([1 - 0.999 ** 20])];
    const first = tf.tensor([1 - 0.9 ** 20]);
    // Twenty steps with the gradient 1 leave corrected moments of 1, so that each step is the learning rate.
    const scalars = { learningRate: tf.scalar(1), step: tf.scalar(21) };
    const { params } = adamwStep([zero], [one], [first], [moment], scalars);
    assertAlmostEquals((await params[0]!.data())[0]!, -1, 1e-5);
  }, ["cpu", "wasm", "tensorflow"]);
});

Deno.test("globalNorm() is the root of the sum of all squares", async () => {
  await tf.setBackend("cpu");
  const tensors = [tf.tensor([3]), tf.tensor2d([[0, 4], [12, 0]])];
  assertEquals((await globalNorm(tensors).data())[0], 13);
  tf.dispose(tensors);
});
