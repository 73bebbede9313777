import { assert, assertEquals, assertLess, assertStringIncludes, assertThrows } from "@std/assert";
import * as tf from "@tensorflow/tfjs";
import type { Engine, Step } from "./engine.ts";
import { assertNoLeak } from "./leaks.ts";
import { openEngine } from "./open_engine.ts";
import { perceptronInputs, perceptronStep, tracedMinusEager } from "./perceptron_for_tests.ts";
import { needsTensorflow } from "./tensorflow_for_tests.ts";

const needs = await needsTensorflow();

/** A test on an engine of its own, which must leave no tensor behind. */
function tracedTest(name: string, body: (engine: Engine) => void | Promise<void>): void {
  Deno.test({
    name,
    ...needs,
    fn: async () => {
      const engine = await openEngine({ engine: "tensorflow" });
      await assertNoLeak(async () => {
        await body(engine);
      });
      engine.close();
    },
  });
}

async function values(tensors: tf.Tensor[]): Promise<number[][]> {
  return await Promise.all(tensors.map(async (tensor) => [...await tensor.data() as Float32Array]));
}

tracedTest("compile() equals the eager step over ten AdamW steps", async (engine) => {
  assertLess(await tracedMinusEager(engine, {}), 1e-5);
});

/** Runs a script in a process of its own; gives its standard output. */
async function inProcess(script: string): Promise<string> {
  const imports = Object.entries({
    openEngine: "open_engine.ts",
    requestAdapter: "webgpu_adapter.ts",
    tracedMinusEager: "perceptron_for_tests.ts",
  }).map(([name, file]) => `import { ${name} } from ${JSON.stringify(new URL(file, import.meta.url).href)};`);
  const start = `${imports.join("\n")}
    const engine = await openEngine({ engine: "tensorflow" });`;
  const { stdout } = await new Deno.Command(Deno.execPath(), { args: ["eval", start + script] }).output();
  return new TextDecoder().decode(stdout).trim();
}

Deno.test({
  name: "compile() by XLA equals the eager step over ten AdamW steps",
  ...needs,
  async fn() {
    const difference = await inProcess("console.log(await tracedMinusEager(engine, { xla: true }));");
    assertLess(Number(difference || NaN), 1e-5);
  },
});

Deno.test({
  name: "compile() refuses XLA where a graphics driver is loaded, rather than die of it",
  ...needs,
  async fn() {
    const out = await inProcess(`
      if (!await requestAdapter()) console.log("no adapter");
      else await tracedMinusEager(engine, { xla: true }).catch((error) => console.log(error.message));`);
    if (out === "no adapter" || Deno.build.os !== "linux") return console.log("left out: no Vulkan driver");
    assertEquals(
      out,
      'Cannot compile step "perceptron" by XLA: this process loaded a Vulkan driver, which may bring another LLVM; ' +
        "use a process of its own",
    );
  },
});

tracedTest(
  "compile() gives the same bits in every call, the first too, and after another trace",
  async (engine) => {
    const inputs = perceptronInputs(64, 1);
    const runs: number[][][] = [];
    for (let compilation = 0; compilation < 2; compilation++) {
      const compiled = engine.compile("perceptron", perceptronStep);
      for (let call = 0; call < 3; call++) {
        const out = compiled(...inputs);
        runs.push(await values(out));
        tf.dispose(out);
      }
    }
    for (const run of runs) assertEquals(run, runs[0]);
    tf.dispose(inputs);
  },
);

tracedTest("compile() keeps one function for each list of shapes and types", async (engine) => {
  let traces = 0;
  const compiled = engine.compile("double", (x) => {
    traces++;
    return [tf.add(x!, x!)];
  });
  assertEquals(compiled.cacheSize, 0);
  for (
    const [shape, dtype] of [[[2], "float32"], [[3], "float32"], [[2], "int32"], [[2], "float32"]] as const
  ) {
    const x = tf.ones([...shape], dtype);
    const [y] = compiled(x);
    assertEquals([y!.shape, y!.dtype, [...await y!.data()]], [
      [...shape],
      dtype,
      shape[0] === 2 ? [2, 2] : [2, 2, 2],
    ]);
    tf.dispose([x, y!]);
  }
  assertEquals([compiled.cacheSize, traces], [3, 3]);
  compiled.dispose();
  const x = tf.scalar(1);
  assertThrows(() => compiled(x), Error, 'Cannot run step "double": it was disposed');
  x.dispose();
});

tracedTest("compile() uses each call's inputs where two of the first shared their data", async (engine) => {
  const compiled = engine.compile("minus", (a, b) => [tf.sub(a!, b!)]);
  const one = tf.scalar(1), five = tf.scalar(5);
  const outputs = [compiled(one, one), compiled(five, one)].flat();
  assertEquals(await values(outputs), [[0], [4]]);
  assertEquals(compiled.cacheSize, 1);
  tf.dispose([one, five, outputs]);
});

tracedTest("compile() returns inputs, constants and repeated tensors as tensors of their own", async () => {
  const step: Step = (x) => {
    const y = tf.square(x!);
    return [x!, y, y, tf.tensor1d([7, 8]), tf.scalar(3, "int32")];
  };
  for (const name of ["cpu", "tensorflow"] as const) {
    const compiled = (await openEngine({ engine: name })).compile("same", step);
    const x = tf.tensor1d([2, 3]);
    const outputs = compiled(x);
    x.dispose();
    assertEquals(await values(outputs), [[2, 3], [4, 9], [4, 9], [7, 8], [3]]);
    for (const output of outputs) output.dispose();
  }
});

tracedTest(
  "compile() takes operations with lists of inputs, integers, booleans and strings of attributes",
  async (engine) => {
    const step: Step = (a, b) => [
      tf.concat([a!, b!, a!], 0),
      tf.stack([a!, b!], 1),
      tf.addN([a!, b!, a!]),
      tf.einsum("ij,jk->ik", a!, b!),
      tf.stridedSlice(a!, [0, 0], [2, 2], [1, 2]),
      tf.where(tf.greater(a!, b!), a!, b!),
      tf.gather(a!, tf.tensor1d([1, 0, 1], "int32")),
      tf.pad(a!, [[1, 0], [0, 1]]),
      tf.topk(a!, 1).values,
      tf.cumsum(a!, 1),
      tf.cast(tf.logicalNot(tf.cast(a!, "bool")), "float32"),
      ...tf.split(b!, 2, 1),
    ];
    const compiled = engine.compile("lists", step);
    const a = tf.tensor2d([[1, 0], [3, 4]]), b = tf.tensor2d([[5, 6], [2, 8]]);
    const outputs = compiled(a, b);
    const expected = tf.tidy(() => step(a, b));
    assertEquals(outputs.map((out) => out.shape), expected.map((out) => out.shape));
    assertEquals(await values(outputs), await values(expected));
    tf.dispose([a, b, outputs, expected]);
  },
);

tracedTest("compile() takes tensors of every type, without numbers, and none at all", async (engine) => {
  const step: Step = (empty) => [
    tf.concat([empty!, tf.zeros([0, 3]), tf.ones([1, 3])]),
    tf.sum(empty!),
    tf.cast(tf.tensor1d([true, false], "bool"), "float32"),
    tf.abs(tf.complex([3, 0], [4, 1])),
    tf.cast(tf.equal(tf.tensor1d(["a", "b"]), tf.tensor1d(["b", "b"])), "float32"),
  ];
  const compiled = engine.compile("types", step);
  const empty = tf.zeros([0, 3]);
  const outputs = compiled(empty);
  assertEquals(outputs.map(({ shape }) => shape), [[1, 3], [], [2], [2], [2]]);
  assertEquals(await values(outputs), [[1, 1, 1], [0], [1, 0], [5, 1], [0, 1]]);
  const two = engine.compile("two", () => [tf.scalar(2)])();
  assertEquals(await values(two), [[2]]);
  assertEquals(engine.compile("nothing", () => [])(empty), []);
  tf.dispose([empty, outputs, two]);
});

tracedTest("compile() names the sizes of matrices that do not fit, and keeps nothing", (engine) => {
  const compiled = engine.compile("misfit", (a, b) => [tf.matMul(a as tf.Tensor2D, b as tf.Tensor2D)]);
  const x = tf.ones([3, 4]);
  const said = assertThrows(() => compiled(x, x), Error).message;
  assert(/4/.test(said) && /3/.test(said) && !said.includes("\n"), said);
  assertEquals(compiled.cacheSize, 0);
  x.dispose();
});

tracedTest("compile() never disposes the inputs, though the step does", async (engine) => {
  const compiled = engine.compile("greedy", (x) => {
    const y = tf.add(x!, 1);
    x!.dispose();
    return [y];
  });
  const x = tf.scalar(1);
  const outputs = [...compiled(x), ...compiled(x)];
  assertEquals(await values([x, ...outputs]), [[1], [2], [2]]);
  tf.dispose([x, outputs]);
});

const outside = {
  computed: () => tf.tidy(() => tf.add(tf.scalar(1), 1)),
  "made of a number": () => tf.scalar(2),
  "made of a text": () => tf.scalar("two"),
  "made on another engine": async () => {
    await openEngine({ engine: "cpu" });
    const made = tf.tensor1d([2, 5]);
    await openEngine({ engine: "tensorflow" });
    return made;
  },
  "an input": undefined,
};
for (const [what, make] of Object.entries(outside)) {
  tracedTest(`compile() refuses a tensor from outside: ${what}`, async (engine) => {
    const x = tf.scalar(3);
    const captured = make ? await make() : x;
    const compiled = engine.compile("closure", (x) => [x!, tf.stack([captured, captured])]);
    assertThrows(
      () => compiled(x),
      Error,
      'Cannot trace step "closure": it uses a tensor from outside that is no input',
    );
    const returned = engine.compile("closure", () => [captured]);
    assertThrows(() => returned(x), Error, "pass it as an argument");
    assertEquals(compiled.cacheSize, 0);
    assertEquals([x.isDisposed, captured.isDisposed], [false, false]);
    assertEquals(captured.dataSync().length, captured.size); // it is still its owner's
    tf.dispose([x, captured]);
  });
}

tracedTest("compile() refuses a read-back, a random draw, and anything but an array of tensors", (engine) => {
  const refused: [Step, string][] = [
    [(x) => (x!.dataSync(), [x!]), "it reads a tensor's values"],
    [(x) => (void x!.data(), [x!]), "it reads a tensor's values"],
    [(x) => [tf.add(x!, tf.randomUniform([2]))], "it draws random numbers"],
    [(x) => [tf.add(x!, Math.random())], "it draws random numbers"],
    [(x) => [tf.multinomial(x as tf.Tensor1D, 3, 5)], "Cannot trace Multinomial: it keeps state"],
    [(x) => tf.add(x!, 1) as unknown as tf.Tensor[], "it must return an array of tensors"],
    [(x) => [tf.add(x!, 1), 5 as unknown as tf.Tensor], "it must return an array of tensors"],
  ];
  const x = tf.tensor1d([1, 2]);
  for (const [step, message] of refused) {
    const error = assertThrows(() => engine.compile("wrong", step)(x), Error, message);
    assert(!error.message.includes("\n"));
  }
  assertStringIncludes(String(Math.random()), "0"); // the guard is gone
  tf.dispose(x);
});

tracedTest("compile() refuses shapes that depend on values", (engine) => {
  const compiled = engine.compile("sieve", (x) => [tf.unique(x!).values]);
  const x = tf.tensor1d([1, 1, 2]);
  assertThrows(
    () => compiled(x),
    Error,
    'Cannot trace step "sieve": the shape of what UniqueV2 makes depends on values; compute it outside',
  );
  x.dispose();
});

tracedTest(
  "compile() computes nothing while it traces: a tensor that the step keeps has no values",
  (engine) => {
    let kept: tf.Tensor | undefined;
    const compiled = engine.compile("keeper", (x) => {
      kept = tf.keep(tf.square(x!));
      return [tf.add(kept, 1)];
    });
    const x = tf.scalar(3);
    const [y] = compiled(x);
    assertEquals([...y!.dataSync()], [10]);
    for (
      const use of [
        () => kept!.dataSync(),
        () => tf.add(kept!, 1),
        () => tf.matMul(tf.reshape(kept!, [1, 1]), tf.ones([1, 1])),
        () => compiled(kept!),
      ]
    ) {
      assertThrows(use, Error, "it is of a step that was traced, return it from the step");
    }
    tf.dispose([x, y!, kept!]);
  },
);

tracedTest("compile() refuses another number of outputs for other shapes", (engine) => {
  const compiled = engine.compile("ragged", (x) => tf.unstack(x!));
  const [two, three] = [tf.zeros([2]), tf.zeros([3])];
  tf.dispose(compiled(two));
  assertThrows(() => compiled(three), Error, "it returned 3 outputs, and 2 for other shapes");
  tf.dispose([two, three]);
});

tracedTest("compile() refuses a compiled step inside another, and another backend", async (engine) => {
  const inner = engine.compile("inner", (x) => [tf.add(x!, 1)]);
  const outer = engine.compile("outer", (x) => inner(x!));
  const x = tf.scalar(1);
  assertThrows(() => outer(x), Error, 'Cannot run compiled step "inner" inside a step that is traced');
  await openEngine({ engine: "cpu" });
  assertThrows(() => inner(x), Error, `tfjs's backend is "cpu"`);
  await openEngine({ engine: "tensorflow" });
  tf.dispose(x);
});

tracedTest("compile() leaves nothing behind when the step throws, and works afterwards", async (engine) => {
  let fail = true;
  const compiled = engine.compile("shaky", (x) => {
    const y = tf.square(x!);
    if (fail) throw new Error("not yet");
    return [y];
  });
  const x = tf.scalar(3);
  await assertNoLeak(() => void assertThrows(() => compiled(x), Error, "not yet"));
  fail = false;
  const outputs = compiled(x);
  assertEquals(await values(outputs), [[9]]);
  tf.dispose([x, outputs]);
});

tracedTest("close() ends the engine's compiled steps", async () => {
  const engine = await openEngine({ engine: "tensorflow" });
  const compiled = engine.compile("last", (x) => [tf.add(x!, 1)]);
  const x = tf.scalar(1);
  tf.dispose(compiled(x));
  engine.close();
  assertThrows(() => compiled(x), Error, "it was disposed");
  x.dispose();
});
