import { openEngine } from "./open_engine.ts";
import * as tf from "@tensorflow/tfjs";
for (const name of ["auto", "wasm", "cpu"] as const) {
  const e = await openEngine({ engine: name });
  console.log(e.report, e.notes);
  const a = tf.randomNormal([300, 400], 0, 1, "float32", 7);
  const s = tf.matMul(a, a, true, false).sum();
  console.log(tf.getBackend(), await s.data());
  console.log(
    await tf.concat([tf.tensor(["héllo", "a much longer string than twenty-four bytes"]), tf.tensor(["x"])])
      .data(),
  );
}
const e = await openEngine({ engine: "tensorflow" });
const step = (w: tf.Tensor, x: tf.Tensor, lr: tf.Tensor) => {
  const g = tf.grad((w) => tf.matMul(x as tf.Tensor2D, w as tf.Tensor2D).tanh().square().mean())(w);
  return [w.sub(g.mul(lr)), x, tf.zeros([2]), w, tf.concat([w, w], 0).sum()];
};
const w = tf.randomNormal([8, 8], 0, 1, "float32", 1),
  x = tf.randomNormal([4, 8], 0, 1, "float32", 2),
  lr = tf.scalar(.1);
const c = e.compile("step", step);
const n = tf.memory().numTensors;
const out = c(w, x, lr);
const eager = tf.tidy(() => step(w, x, lr));
console.log(
  out.map((o) => o.shape),
  c.cacheSize,
  await tf.max(tf.abs(out[0]!.sub(eager[0]!))).data(),
  await out[4]!.data(),
);
tf.dispose(out);
let t = performance.now();
for (let i = 0; i < 1000; i++) tf.dispose(c(w, x, lr));
console.log("µs", performance.now() - t, tf.memory().numTensors - n);
t = performance.now();
for (let i = 0; i < 1000; i++) {
  tf.tidy(() => {
    step(w, x, lr);
  });
}
console.log("eager µs", performance.now() - t);
const many = e.compile("many", (...ts) => ts.map((t) => t.add(1)));
const ts = Array.from({ length: 300 }, (_, i) => tf.scalar(i));
t = performance.now();
for (let i = 0; i < 100; i++) tf.dispose(many(...ts));
console.log("300→300 µs", (performance.now() - t) * 10);
e.close();
