import { assertRejects } from "@std/assert";
import * as tf from "@tensorflow/tfjs";
import { assertNoLeak } from "./leaks.ts";
import { openEngine } from "./open_engine.ts";

Deno.test("assertNoLeak() passes what cleans up and refuses what leaves a tensor", async () => {
  await openEngine({ engine: "cpu" });
  await assertNoLeak(() => tf.scalar(1).dispose());
  const left: tf.Tensor[] = [];
  await assertRejects(
    () => assertNoLeak(() => void left.push(tf.scalar(1))),
    Error,
    "Expected 0 tensors to be left, and there are 1",
  );
  tf.dispose(left);
});
