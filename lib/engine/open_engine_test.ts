import { assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import * as tf from "@tensorflow/tfjs";
import { canJoinVectors, joinFlag } from "../../tests/joined_vectors.ts";
import { InputError } from "../base/input_error.ts";
import { type EngineName, openEngine } from "./open_engine.ts";
import { needsTensorflow } from "./tensorflow_for_tests.ts";

const needs = await needsTensorflow();

/** Runs `body` with libtensorflow named to be where nothing is. */
async function withoutLibtensorflow(body: () => Promise<void>): Promise<void> {
  const before = Deno.env.get("SEARCH_E1_LIBTENSORFLOW");
  Deno.env.set("SEARCH_E1_LIBTENSORFLOW", "/nowhere/libtensorflow_cc.so.2");
  try {
    await body();
  } finally {
    if (before === undefined) Deno.env.delete("SEARCH_E1_LIBTENSORFLOW");
    else Deno.env.set("SEARCH_E1_LIBTENSORFLOW", before);
  }
}

for (const name of ["wasm", "cpu"] as const) {
  Deno.test(`openEngine() opens ${name}, sets tfjs's backend and says so in one line`, async () => {
    const engine = await openEngine({ engine: name, threads: 1 });
    assertEquals([engine.name, engine.threads, tf.getBackend()], [name, 1, name]);
    assertMatch(
      engine.report,
      new RegExp(`^${name} on \\w+ CPU, 1 thread, tfjs [\\d.]+( and 256-bit vectors)?$`),
    );
    const product = tf.tidy(() => tf.matMul(tf.ones([2, 3]), tf.ones([3, 2])));
    assertEquals([...await product.data()], [3, 3, 3, 3]);
    product.dispose();
    engine.close();
  });
}

Deno.test("openEngine() says whether V8 joins vectors, as the environment has it", {
  ignore: !await canJoinVectors(),
}, async () => {
  const code = `const { openEngine } = await import(${
    JSON.stringify(new URL("open_engine.ts", import.meta.url))
  });
    console.log((await openEngine({ engine: "wasm" })).version);`;
  const version = async (flags: string) => {
    const args = ["eval", code], env = { DENO_V8_FLAGS: flags };
    const { stdout } = await new Deno.Command(Deno.execPath(), { args, env, stderr: "inherit" }).output();
    return new TextDecoder().decode(stdout).trimEnd();
  };
  const plain = `tfjs ${tf.version.tfjs}`;
  assertEquals(await version(`--no-liftoff,${joinFlag}`), `${plain} and 256-bit vectors`);
  assertEquals(await version("--no-liftoff"), plain);
});

Deno.test({
  name: "openEngine() prefers tensorflow",
  ...needs,
  async fn() {
    const engine = await openEngine();
    assertEquals([engine.name, tf.getBackend()], ["tensorflow", "tensorflow"]);
    assertMatch(
      engine.report,
      /^tensorflow on .+, \d+ threads?, libtensorflow 2\.\d+\.\d+( and own kernels)?$/,
    );
  },
});

Deno.test("openEngine() passes over what is missing, and says why", async () => {
  await withoutLibtensorflow(async () => {
    const engine = await openEngine();
    assertEquals(engine.name === "wasm" || engine.name === "webgpu", true);
    assertEquals(
      engine.notes[0],
      "tensorflow is not used: Cannot load /nowhere/libtensorflow_cc.so.2 (SEARCH_E1_LIBTENSORFLOW): there is no such " +
        "file; point SEARCH_E1_LIBTENSORFLOW at another, or unset it",
    );
  });
});

Deno.test("openEngine() names what a named engine lacks", async () => {
  await withoutLibtensorflow(async () => {
    const error = await assertRejects(() => openEngine({ engine: "tensorflow" }), InputError);
    assertStringIncludes(error.message, "there is no such file; point SEARCH_E1_LIBTENSORFLOW at another");
  });
});

Deno.test("openEngine() refuses unknown engines and impossible numbers of threads", async () => {
  const open = (engine: string) => openEngine({ engine: engine as EngineName });
  await assertRejects(() => open("tensorflo"), InputError, 'did you mean "tensorflow"?');
  await assertRejects(
    () => open("x".repeat(30)),
    InputError,
    "choose one of auto, tensorflow, webgpu, wasm, cpu",
  );
  for (const threads of [-1, 1.5, NaN, 1e9]) {
    await assertRejects(
      () => openEngine({ engine: "cpu", threads }),
      InputError,
      `Cannot compute with ${threads} threads`,
    );
  }
});

Deno.test("close() ends the steps that the engine compiled", async () => {
  const engine = await openEngine({ engine: "cpu" });
  const step = engine.compile("twice", (x) => [tf.mul(x!, 2)]);
  const x = tf.scalar(4);
  const [y] = step(x);
  assertEquals([[...await y!.data()], step.cacheSize], [[8], 0]);
  engine.close();
  let message = "";
  try {
    step(x);
  } catch (error) {
    message = (error as Error).message;
  }
  assertEquals(message, 'Cannot run step "twice": it was disposed');
  tf.dispose([x, y!]);
});
