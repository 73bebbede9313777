import { openEngine } from "./open_engine.ts";
import * as tf from "@tensorflow/tfjs";
for (const name of ["auto", "wasm", "cpu"] as const) {
  const e = await openEngine({ engine: name });
  console.log(e.report, e.notes);
  const a = tf.randomNormal([300, 400], 0, 1, "float32", 7);
  const s = tf.matMul(a, a, true, false).sum();
  console.log(tf.getBackend(), await s.data());
  console.log(await tf.gather(tf.tensor(["héllo", "a much longer string than twenty-four bytes"]), tf.tensor1d([1,0,1],"int32")).data());
  console.log(await tf.gather(tf.tensor1d([5,6,7]), tf.tensor1d([2,0],"int32")).data());
}
