/**
 * A training step as one library call. The step is recorded once, automatic differentiation and optimiser included, without
 * computing anything, and becomes a TensorFlow function, specialised to the shapes of its inputs; every call, the first
 * too, runs that function, so that a resumed run computes the same bits. JavaScript inside the step runs only while it is
 * recorded: a number that changes from call to call must be an input.
 *
 * @module
 */
import * as tf from "@tensorflow/tfjs";
import type { CompiledStep, CompileOptions, Step } from "./engine.ts";
import { GraphRecorder, removeFunction } from "./graph_function.ts";
import { withoutFusedKernels } from "./fused_kernels.ts";
import { cString } from "./libtensorflow_symbols.ts";
import type { TensorflowBackend } from "./tensorflow_backend.ts";

/** The functions made in this process, so that each has a name of its own. */
let functionCount = 0;

/**
 * A step that runs as it stands, for engines that compile nothing: its intermediate tensors are freed, and an output
 * that is an input, or that comes twice, becomes a tensor of its own.
 */
export function plainStep(name: string, step: Step): CompiledStep {
  let disposed = false;
  const run = (...inputs: tf.Tensor[]): tf.Tensor[] => {
    if (disposed) throw new Error(`Cannot run step "${name}": it was disposed`);
    return tf.tidy(() => {
      const taken = new Set<tf.Tensor>(inputs);
      return checkedOutputs(name, step(...inputs)).map((output) => {
        if (taken.has(output)) return tf.clone(output);
        taken.add(output);
        return output;
      });
    });
  };
  return Object.assign(run, { cacheSize: 0, dispose: () => void (disposed = true) });
}

/** A step as a TensorFlow function, one for each list of input shapes and types that it meets. */
export function tracedStep(
  backend: TensorflowBackend,
  name: string,
  step: Step,
  { xla = false }: CompileOptions = {},
): CompiledStep {
  const { binding } = backend;
  const attributes = xla ? [{ name: "_XlaMustCompile", type: binding.TF_ATTR_BOOL, value: true }] : [];
  const functions = new Map<string, string>();
  let outputCount: number | undefined;
  let disposed = false;

  const trace = (inputs: tf.Tensor[]): string => {
    const traced = `${name.replace(/\W/g, "_")}_${functionCount++}`;
    const record = () => recordStep(backend, name, step, inputs, traced);
    const count = xla ? withoutFusedKernels(record) : record();
    outputCount ??= count;
    if (count !== outputCount) {
      removeFunction(binding, traced);
      throw new Error(
        `Cannot trace step "${name}" for inputs ${shapesOf(inputs)}: it returned ${count} outputs, ` +
          `and ${outputCount} for other shapes`,
      );
    }
    return traced;
  };

  const run = (...inputs: tf.Tensor[]): tf.Tensor[] => {
    if (disposed) throw new Error(`Cannot run step "${name}": it was disposed`);
    if (binding.recorder !== undefined) {
      throw new Error(
        `Cannot run compiled step "${name}" inside a step that is traced; call the plain function`,
      );
    }
    if (tf.getBackend() !== "tensorflow") {
      throw new Error(`Cannot run step "${name}" of tensorflow: tfjs's backend is "${tf.getBackend()}"`);
    }
    if (xla && vulkanIsLoaded(backend)) {
      throw new Error(
        `Cannot compile step "${name}" by XLA: this process loaded a Vulkan driver, which may bring another LLVM; ` +
          "use a process of its own",
      );
    }
    const key = shapesOf(inputs);
    let traced = functions.get(key);
    if (traced === undefined) functions.set(key, traced = trace(inputs));
    return binding.executeOp(traced, attributes, backend.getInputTensorIds(inputs), outputCount!)
      .map((output) => backend.createOutputTensor(output));
  };
  const dispose = () => {
    for (const traced of functions.values()) removeFunction(binding, traced);
    functions.clear();
    disposed = true;
  };
  return Object.defineProperty(Object.assign(run, { dispose, cacheSize: 0 }), "cacheSize", {
    get: () => functions.size,
  });
}

/** Whether a graphics adapter was asked for here: Mesa's software driver brings an LLVM that makes XLA's crash. */
function vulkanIsLoaded({ binding }: TensorflowBackend): boolean {
  const lazyIfLoaded = 0x5; // RTLD_LAZY | RTLD_NOLOAD on Linux
  return Deno.build.os === "linux" &&
    binding.library.symbols.dlopen(cString("libvulkan.so.1"), lazyIfLoaded) !== 0n;
}

function shapesOf(inputs: readonly tf.Tensor[]): string {
  return inputs.map(({ dtype, shape }) => `${dtype}[${shape}]`).join(" ");
}

/** Records the step, without computing anything, and adds it to the context as the function `traced`; its outputs' number. */
function recordStep(
  backend: TensorflowBackend,
  name: string,
  step: Step,
  inputs: tf.Tensor[],
  traced: string,
): number {
  const { binding } = backend;
  const recorder = new GraphRecorder(binding, name);
  try {
    return tf.tidy(() => {
      const recorded = inputs.map(({ shape, dtype }) =>
        backend.createOutputTensor(recorder.input(shape, backend.getDTypeInteger(dtype)))
      );
      binding.recorder = recorder;
      const release = guardTrace(backend, name, () => recorder.captured());
      let outputs, outputIds;
      try {
        outputs = checkedOutputs(name, step(...recorded));
        outputIds = backend.getInputTensorIds(outputs);
      } finally {
        binding.recorder = undefined;
        release();
      }
      recorder.addFunction(traced, outputIds);
      tf.dispose(outputs); // one that the step keeps would outlive this scope
      return outputIds.length;
    });
  } finally {
    recorder.dispose();
  }
}

/** While a step is recorded, refuses what a function could not repeat; returns what ends the guard, and throws if it must. */
function guardTrace(backend: TensorflowBackend, name: string, captured: () => Error): () => void {
  const readBack = new Error(
    `Cannot trace step "${name}": it reads a tensor's values; return the tensor and read it outside`,
  );
  let wasRead = false;
  const random = Math.random;
  Math.random = () => {
    throw new Error(
      `Cannot trace step "${name}": it draws random numbers, which would be the same in every call; pass them in`,
    );
  };
  const { getInputTensorIds } = backend;
  Object.assign(backend, {
    // What waits is a text from outside, or was on another engine: copied now it would be a constant, and lost to its owner.
    getInputTensorIds(tensors: readonly tf.TensorInfo[]) {
      for (const { dataId } of tensors) {
        if (dataId !== undefined && backend.tensorMap.get(dataId).values !== null) throw captured();
      }
      return getInputTensorIds.call(backend, tensors);
    },
    // A step cannot wait for a promise, so nobody would see it fail: the end of the guard throws.
    read() {
      wasRead = true;
      return new Promise(() => {});
    },
    readSync() {
      throw readBack;
    },
  });
  return () => {
    Math.random = random;
    // The guard stood on the object itself; without it the class's own methods are seen again.
    const guarded = backend as Partial<TensorflowBackend>;
    delete guarded.getInputTensorIds;
    delete guarded.read;
    delete guarded.readSync;
    if (wasRead) throw readBack;
  };
}

function checkedOutputs(name: string, outputs: unknown): tf.Tensor[] {
  if (
    !Array.isArray(outputs) || !outputs.every((output) => output instanceof tf.Tensor && !output.isDisposed)
  ) {
    throw new Error(`Cannot use step "${name}": it must return an array of tensors that are not disposed`);
  }
  return outputs;
}
