/** `deno task doctor`: says what this machine has, engine by engine, and tries each. */
import * as tf from "@tensorflow/tfjs";
import { type EngineName, engineNames, openEngine } from "../lib/engine/open_engine.ts";
import { cacheFolder, findLibraries } from "../lib/engine/locate.ts";
import { nativeKernels } from "../lib/engine/native/native_library.ts";
import { findPip } from "../lib/engine/pip.ts";
import { runTask } from "./command_line.ts";

await runTask("doctor", "Says what this machine has, and tries every engine.", {}, async () => {
  console.log(
    `Deno ${Deno.version.deno}, ${Deno.build.os} ${Deno.build.arch}, ${navigator.hardwareConcurrency} cores`,
  );
  console.log(`Cache folder: ${cacheFolder()}`);
  const libraries = await findLibraries();
  for (const { path, place } of libraries) console.log(`libtensorflow: ${path} (${place})`);
  if (libraries.length === 0) console.log("libtensorflow: not found; run `deno task setup`");
  const own = nativeKernels();
  console.log(
    `Own kernels in machine code: ${own.library ? `for ${own.vectors}` : `not used: ${own.missing}`}`,
  );
  const pip = await findPip();
  console.log(
    pip ? `pip: ${pip.join(" ")}` : "pip: not found, so `deno task setup` cannot fetch libtensorflow",
  );
  for (const name of engineNames) console.log(`${name.padEnd(10)} ${await tryEngine(name)}`);
  console.log(
    `${"auto".padEnd(10)} chooses ${
      (await openEngine()).name
    }; TF_CPP_MIN_LOG_LEVEL=0 shows TensorFlow's own log`,
  );
  return 0;
});

/** Opens an engine and compares a matrix product with one worked out by hand. */
async function tryEngine(engine: EngineName): Promise<string> {
  try {
    const opened = await openEngine({ engine });
    const product_23 = tf.tidy(() =>
      tf.matMul(tf.tensor2d([[1, 2], [3, 4]]), tf.tensor2d([[5, 6, 7], [8, 9, 10]]))
    );
    const values = [...await product_23.data()].join(" ");
    product_23.dispose();
    const verdict = values === "21 24 27 47 54 61" ? "works" : `computes wrongly (${values})`;
    return `${verdict}: ${opened.report}`;
  } catch (error) {
    return `cannot be used: ${error instanceof Error ? error.message : error}`;
  }
}
