/**
 * tfjs-node-gpu's backend on a loaded libtensorflow. Only its backend class and kernels are imported: the package's
 * index would look for the native add-on.
 *
 * @module
 */
import nodeUtil from "node:util";
import * as tf from "@tensorflow/tfjs";
import { cString, textAt } from "./libtensorflow_symbols.ts";
import type { LoadedLibrary } from "./load_library.ts";
import { registerNativeOperations } from "./native/operations.ts";
import { withoutLog } from "./quiet_log.ts";
import { TensorflowBinding, type TensorMetadata } from "./tensorflow_binding.ts";

/** The parts of tfjs-node-gpu's NodeJSKernelBackend that the kit calls. */
export interface TensorflowBackend extends tf.KernelBackend {
  readonly binding: TensorflowBinding;
  readonly isUsingGpuDevice: boolean;
  /** tfjs's data, by its id: values that wait to be copied to the library, or null. */
  readonly tensorMap: { get(dataId: object): { values: tf.backend_util.BackendValues | null } };
  /** The binding's numbers of tensors; copies values that wait. */
  getInputTensorIds(tensors: readonly tf.TensorInfo[]): number[];
  write(values: tf.backend_util.BackendValues, shape: number[], dtype: tf.DataType): object;
  createOutputTensor(metadata: TensorMetadata): tf.Tensor;
  getDTypeInteger(dtype: tf.DataType): number;
  executeSingleOutput(name: string, attributes: unknown[], inputs: tf.TensorInfo[]): tf.Tensor;
  executeMultipleOutputs(
    name: string,
    attributes: unknown[],
    inputs: tf.TensorInfo[],
    outputCount: number,
  ): tf.Tensor[];
}

/** Tells other isolates of this process, as `pid:threads`, that the library's one pool of threads stands. */
const threadsVariable = "SEARCH_E1_TENSORFLOW_THREADS";

/** The registered backend. */
export interface OpenedBackend {
  backend: TensorflowBackend;
  /** The threads that compute: those of the process's first opening. */
  threads: number;
  /** Whether the kit's kernels in machine code compute too. */
  ownKernels: boolean;
}

let opened: OpenedBackend | undefined;

/**
 * Registers the backend `tensorflow`, once for the life of the process.
 *
 * @param threads how many threads compute, all cores when undefined; a process that computes already keeps its number.
 */
export async function openTensorflowBackend(
  { library, path }: LoadedLibrary,
  threads: number | undefined,
): Promise<OpenedBackend> {
  if (opened !== undefined) return opened;
  const [pid, running] = textAt(library.symbols.getenv(cString(threadsVariable))).split(":").map(Number);
  const count = pid === Deno.pid && running ? running : threads ?? navigator.hardwareConcurrency;
  library.symbols.setenv(cString(threadsVariable), cString(`${Deno.pid}:${count}`), 1);
  // GPU kernels that add in a fixed order: the same run gives the same bits.
  library.symbols.setenv(cString("TF_DETERMINISTIC_OPS"), cString("1"), 1);
  // Tensors from the library's own pool: the C library's cannot give a freed tensor's place to the next one where something
  // small lies behind it, and fetches new pages from the system every time. Up to a TiB instead of 64 GiB.
  library.symbols.setenv(cString("TF_CPU_ALLOCATOR_USE_BFC"), cString("1"), 0);
  library.symbols.setenv(cString("TF_CPU_BFC_MEM_LIMIT_IN_MB"), cString(String(2 ** 20)), 0);

  // Gone from today's node:util, and called by the backend.
  Object.assign(nodeUtil, {
    isNullOrUndefined: (value: unknown) => value === null || value === undefined,
    isArray: Array.isArray,
  });
  const module = await import("@tensorflow/tfjs-node-gpu/dist/nodejs_kernel_backend.js");
  await import("@tensorflow/tfjs-node-gpu/dist/register_all_kernels.js");
  const binding = withoutLog(() => new TensorflowBinding(library, count));
  const { NodeJSKernelBackend } = module as unknown as {
    NodeJSKernelBackend: new (binding: TensorflowBinding, packageName: string) => TensorflowBackend;
  };
  const backend = new NodeJSKernelBackend(binding, "@tensorflow/tfjs-node-gpu");
  writeAtOnce(backend);
  replaceGather();
  const ownKernels = !backend.isUsingGpuDevice &&
    registerNativeOperations(library, await Deno.realPath(path), count);
  tf.registerBackend("tensorflow", () => backend, 3);
  opened = { backend, threads: count, ownKernels };
  return opened;
}

/**
 * tfjs-node keeps a new tensor's values until an operation needs them. Where they are copied at once, a model's arrays become
 * garbage one after the other while it is read, not all of them at the first step, when nothing calls the collector. Texts
 * wait, since a buffer of them may have holes, but not in a step that is traced, where what waits is from outside.
 */
function writeAtOnce(backend: TensorflowBackend): void {
  const { write, getInputTensorIds } = backend;
  Object.assign(backend, {
    write(values: tf.backend_util.BackendValues, shape: number[], dtype: tf.DataType): object {
      const dataId = write.call(backend, values, shape, dtype);
      if (dtype === "string" && backend.binding.recorder === undefined) return dataId;
      try {
        getInputTensorIds.call(backend, [{ dataId, shape, dtype }]);
      } catch (error) {
        backend.disposeData(dataId); // nobody owns it yet
        throw error;
      }
      return dataId;
    },
  });
}

/** tfjs-node's kernel reads the indices back to check them, which no trace can hold; the library checks them itself. */
function replaceGather(): void {
  tf.unregisterKernel("GatherV2", "tensorflow");
  tf.registerKernel({
    kernelName: "GatherV2",
    backendName: "tensorflow",
    kernelFunc: (call) => {
      const backend = call.backend as TensorflowBackend;
      const { TF_ATTR_TYPE, TF_ATTR_INT } = backend.binding;
      const { x, indices } = call.inputs as { x: tf.Tensor; indices: tf.Tensor };
      const { axis, batchDims } = call.attrs as unknown as { axis: number; batchDims: number };
      tf.backend_util.segment_util.collectGatherOpShapeInfo(x, indices, axis, batchDims);
      const axisTensor = tf.scalar(axis, "int32");
      const attributes = [
        { name: "batch_dims", type: TF_ATTR_INT, value: batchDims },
        { name: "Tparams", type: TF_ATTR_TYPE, value: backend.getDTypeInteger(x.dtype) },
        { name: "Tindices", type: TF_ATTR_TYPE, value: backend.getDTypeInteger(indices.dtype) },
        { name: "Taxis", type: TF_ATTR_TYPE, value: backend.getDTypeInteger("int32") },
      ];
      try {
        return backend.executeSingleOutput("GatherV2", attributes, [x, indices, axisTensor]);
      } catch (error) {
        // "indices[0] = 100 is not in [0, 2)", in tfjs-node's words.
        const [, index, size] = /= (-?\d+) is not in \[0, (\d+)\)/.exec(String(error)) ?? [];
        if (index === undefined) throw error;
        throw new Error(`GatherV2: the index value ${index} is not in [0, ${Number(size) - 1}]`);
      } finally {
        axisTensor.dispose();
      }
    },
  });
}
