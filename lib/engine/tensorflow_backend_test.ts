import { assertEquals, assertThrows } from "@std/assert";
import * as tf from "@tensorflow/tfjs";
import { openEngine } from "./open_engine.ts";
import { needsTensorflow } from "./tensorflow_for_tests.ts";

const needs = await needsTensorflow();

Deno.test({
  name: "a new tensor on tensorflow has its values at once: what becomes of the array does not matter",
  ...needs,
  async fn() {
    const engine = await openEngine({ engine: "tensorflow" });
    const array = Float32Array.of(1, 2, 3);
    const x = tf.tensor1d(array);
    array.fill(9);
    assertEquals([...x.dataSync()], [1, 2, 3]);
    x.dispose();
    engine.close();
  },
});

Deno.test({
  name: "a tensor on tensorflow whose values do not fill it is refused, and leaves nothing behind",
  ...needs,
  async fn() {
    const engine = await openEngine({ engine: "tensorflow" });
    const before = tf.backend().numDataIds();
    assertThrows(
      () => tf.engine().makeTensor(new Float32Array(3), [2], "float32"),
      Error,
      "Cannot make a tensor of shape [2] and TF_DataType 1 from 12 bytes: it takes 8",
    );
    assertEquals(tf.backend().numDataIds(), before);
    engine.close();
  },
});

Deno.test({
  name: "a buffer of texts on tensorflow may have holes",
  ...needs,
  async fn() {
    const engine = await openEngine({ engine: "tensorflow" });
    const buffer = tf.buffer([2], "string");
    buffer.set("here", 1);
    const x = buffer.toTensor();
    assertEquals(x.shape, [2]);
    x.dispose();
    engine.close();
  },
});
