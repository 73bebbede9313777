/**
 * The kit's kernels as operations of libtensorflow, and as kernels of tfjs's backend `tensorflow`: eager and inside traced
 * functions they are called like any other.
 *
 * @module
 */
import * as tf from "@tensorflow/tfjs";
import {
  type FusedKernel,
  fusedKernels,
  matMulName,
  mayFuse,
  outputShapes,
  registeredName,
} from "../fused_kernels.ts";
import { cString, type Libtensorflow } from "../libtensorflow_symbols.ts";
import type { TensorflowBackend } from "../tensorflow_backend.ts";
import { type NativeLibrary, nativeLibrary } from "./native_library.ts";

/**
 * Makes the kit's operations known to a loaded libtensorflow, and tfjs's backend use them.
 *
 * @param path Where the library was loaded from.
 * @param threads How many threads compute.
 * @returns Whether there are such operations for this machine.
 */
export function registerNativeOperations(
  { symbols }: Libtensorflow,
  path: string,
  threads: number,
): boolean {
  const native = nativeLibrary();
  if (!native) return false;
  const lazyIfLoaded = Deno.build.os === "darwin" ? 0x11 : 0x5; // RTLD_LAZY | RTLD_NOLOAD
  const handle = Deno.UnsafePointer.create(symbols.dlopen(cString(path), lazyIfLoaded));
  const dlsym = symbols.dlsym(null, cString("dlsym"));
  const count = native.register_operations(dlsym, handle);
  if (count <= 0) throw new Error(`Cannot register the kit's operations with libtensorflow: code ${count}`);
  native.native_set_threads(threads);
  for (const kernel of Object.keys(fusedKernels) as FusedKernel[]) registerFused(kernel);
  replaceMatMul(native);
  return true;
}

function registerFused(kernel: FusedKernel): void {
  const types = fusedKernels[kernel].attributes;
  const kernelName = registeredName(kernel);
  tf.registerKernel({
    kernelName,
    backendName: "tensorflow",
    kernelFunc: ({ inputs, attrs, backend }) => {
      const { binding, executeMultipleOutputs } = backend as TensorflowBackend;
      const kinds = { int: binding.TF_ATTR_INT, float: binding.TF_ATTR_FLOAT, bool: binding.TF_ATTR_BOOL };
      const attributes = Object.entries(types).map(([name, type]) => (
        { name, type: kinds[type as keyof typeof kinds], value: attrs![name] }
      ));
      const tensors = Object.values(inputs) as tf.TensorInfo[];
      const { length } = outputShapes(kernelName, tensors.map(({ shape }) => shape), attrs!)!;
      return executeMultipleOutputs.call(backend, kernelName, attributes, tensors, length);
    },
  });
}

/** Matrix products by the kit's kernel, but for what it does not take. */
function replaceMatMul(native: NativeLibrary): void {
  const original = tf.getKernel("BatchMatMul", "tensorflow")!;
  tf.unregisterKernel("BatchMatMul", "tensorflow");
  tf.registerKernel({
    ...original,
    kernelFunc: (call) => {
      const { a, b } = call.inputs as { a: tf.TensorInfo; b: tf.TensorInfo };
      const { transposeA, transposeB } = call.attrs as unknown as Record<string, boolean>;
      const taken = mayFuse() && a.dtype === "float32" && b.dtype === "float32" &&
        tf.util.arraysEqual(a.shape.slice(0, -2), b.shape.slice(0, -2));
      if (!taken) return original.kernelFunc(call);
      const backend = call.backend as TensorflowBackend;
      const { binding } = backend;
      if (binding.recorder !== undefined || a.shape.length > 3) {
        const attributes = [
          { name: "transpose_a", type: binding.TF_ATTR_BOOL, value: transposeA },
          { name: "transpose_b", type: binding.TF_ATTR_BOOL, value: transposeB },
        ];
        return backend.executeSingleOutput(matMulName, attributes, [a, b]);
      }
      const transposes = { transpose_a: transposeA!, transpose_b: transposeB! };
      const [shape] = outputShapes(matMulName, [a.shape, b.shape], transposes)!;
      const [batch, m, n] = shape!.length === 2 ? [1, ...shape!] : shape!;
      const [left, right] = backend.getInputTensorIds([a, b]).map((id) => binding.handle(id));
      const product = native.eager_matmul(
        left!,
        right!,
        shape!.length,
        batch!,
        m!,
        n!,
        a.shape.at(transposeA ? -2 : -1)!,
        Number(transposeA),
        Number(transposeB),
        binding.status,
      );
      if (product === 0n) binding.check("MatMul");
      return backend.createOutputTensor({
        id: binding.adopt(product),
        shape: [...shape!],
        dtype: binding.TF_FLOAT,
      });
    },
  });
}
