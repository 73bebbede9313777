/**
 * What tfjs-node-gpu's native add-on gives to its JavaScript (src/tfjs_binding.ts of that package), over `Deno.dlopen`
 * and TensorFlow's C API. SavedModels are left out: the kit has no use for them.
 *
 * @module
 */
import { type AttributeSetters, eagerSetters, int64s, type OpAttribute, setAttribute } from "./attributes.ts";
import {
  attributeTypes,
  dataTypes,
  keptCString,
  type Libtensorflow,
  textAt,
} from "./libtensorflow_symbols.ts";
import { deleteStringTensor, newStringTensor, readStringTensor } from "./string_tensors.ts";

/** A tensor that an operation made: the binding's number for it, its shape and its TF_DataType. */
export interface TensorMetadata {
  id: number;
  shape: number[];
  dtype: number;
}

/** The values of a new tensor: numbers or, for strings, their bytes. */
export type TensorValues = Float32Array | Int32Array | Uint8Array | Uint8Array[];

/** Takes every tensor made from values and every operation while a step is traced, when nothing is computed. */
export interface Recorder {
  tensor(shape: number[], dtype: number, values: TensorValues): number;
  operation(name: string, attributes: OpAttribute[], inputs: number[]): TensorMetadata[];
}

/** Stands for the handle of a tensor that is recorded only. */
export const recordedHandle = 0n;

/** One eager context on one libtensorflow, and the tensors in it, numbered. It lives as long as the process. */
export class TensorflowBinding {
  readonly TF_FLOAT = dataTypes.TF_FLOAT;
  readonly TF_INT32 = dataTypes.TF_INT32;
  readonly TF_INT64 = dataTypes.TF_INT64;
  readonly TF_BOOL = dataTypes.TF_BOOL;
  readonly TF_COMPLEX64 = dataTypes.TF_COMPLEX64;
  readonly TF_STRING = dataTypes.TF_STRING;
  readonly TF_RESOURCE = dataTypes.TF_RESOURCE;
  readonly TF_UINT8 = dataTypes.TF_UINT8;
  readonly TF_ATTR_STRING = attributeTypes.TF_ATTR_STRING;
  readonly TF_ATTR_INT = attributeTypes.TF_ATTR_INT;
  readonly TF_ATTR_FLOAT = attributeTypes.TF_ATTR_FLOAT;
  readonly TF_ATTR_BOOL = attributeTypes.TF_ATTR_BOOL;
  readonly TF_ATTR_TYPE = attributeTypes.TF_ATTR_TYPE;
  readonly TF_ATTR_SHAPE = attributeTypes.TF_ATTR_SHAPE;
  readonly TF_Version: string;

  /** The loaded library. */
  readonly library: Libtensorflow;
  /** The C API's eager context. */
  readonly context: Deno.PointerValue;
  /** Set while a step is traced. */
  recorder: Recorder | undefined;

  readonly #status: Deno.PointerValue;
  readonly #setters: AttributeSetters;
  readonly #device: { name: string; type: string };
  readonly #handles = new Map<number, bigint>();
  readonly #outputCount = new Int32Array(1);
  #nextId = 0;

  /** Opens a context with `threads` threads for one operation, and as many operations at a time. */
  constructor(library: Libtensorflow, threads: number) {
    this.library = library;
    const { symbols } = library;
    this.TF_Version = textAt(symbols.TF_Version());
    this.#status = symbols.TF_NewStatus();
    this.#setters = eagerSetters(library, this.#status);
    const options = symbols.TFE_NewContextOptions();
    const config = contextConfig(threads);
    symbols.TFE_ContextOptionsSetConfig(options, config, BigInt(config.length), this.#status);
    this.check("TFE_ContextOptionsSetConfig");
    this.context = symbols.TFE_NewContext(options, this.#status);
    this.check("TFE_NewContext");
    symbols.TFE_DeleteContextOptions(options);
    this.#device = this.#chooseDevice();
  }

  /** The device that tensors are copied to: the last graphics card listed, else the processor. */
  #chooseDevice(): { name: string; type: string } {
    const { symbols } = this.library;
    const list = symbols.TFE_ContextListDevices(this.context, this.#status);
    this.check("TFE_ContextListDevices");
    let chosen = { name: "", type: "" };
    for (let i = 0; i < symbols.TF_DeviceListCount(list); i++) {
      const type = textAt(symbols.TF_DeviceListType(list, i, this.#status));
      if (type === "GPU" || (type === "CPU" && chosen.type === "")) {
        chosen = { name: textAt(symbols.TF_DeviceListName(list, i, this.#status)), type };
      }
    }
    symbols.TF_DeleteDeviceList(list);
    return chosen;
  }

  /** Throws what the last call of the C API complained about. */
  check(action: string): void {
    if (this.library.symbols.TF_GetCode(this.#status) === 0) return;
    throw new Error(`${action} failed: ${textAt(this.library.symbols.TF_Message(this.#status))}`);
  }

  /** The status that calls report to; {@linkcode check} reads it. */
  get status(): Deno.PointerValue {
    return this.#status;
  }

  /** The device's name as TensorFlow spells it, for instance `/job:localhost/replica:0/task:0/device:CPU:0`. */
  get deviceName(): string {
    return this.#device.name;
  }

  /** Whether a graphics card computes. */
  isUsingGpuDevice(): boolean {
    return this.#device.type === "GPU";
  }

  /** A TF_Tensor of the given values; the caller frees it with {@linkcode deleteRawTensor}. */
  newRawTensor(shape: readonly number[], dtype: number, values: TensorValues): bigint {
    if (dtype === dataTypes.TF_STRING) {
      return newStringTensor(this.library, shape, values as Uint8Array<ArrayBuffer>[]);
    }
    const data = values as Uint8Array<ArrayBuffer>;
    const width = elementSizes[dtype];
    const expected = shape.reduce((product, dim) => product * dim, width ?? NaN);
    if (data.byteLength !== expected) {
      throw new Error(
        `Cannot make a tensor of shape [${shape}] and TF_DataType ${dtype} from ${data.byteLength} bytes: ` +
          `${width === undefined ? "the type is not supported" : `it takes ${expected}`}`,
      );
    }
    const { symbols } = this.library;
    const size = BigInt(data.byteLength);
    const tensor = symbols.TF_AllocateTensor(dtype, int64s(shape), shape.length, size);
    if (data.byteLength > 0) symbols.memcpy(symbols.TF_TensorData(tensor), data, size);
    return tensor;
  }

  /** Frees what {@linkcode newRawTensor} made. */
  deleteRawTensor(tensor: bigint, dtype: number): void {
    if (dtype === dataTypes.TF_STRING) deleteStringTensor(this.library, tensor);
    else this.library.symbols.TF_DeleteTensor(tensor);
  }

  /** Makes a tensor from values and returns its number. */
  createTensor(shape: number[], dtype: number, values: TensorValues): number {
    if (this.recorder !== undefined) return this.recorder.tensor(shape, dtype, values);
    const { symbols } = this.library;
    const raw = this.newRawTensor(shape, dtype, values);
    let handle = symbols.TFE_NewTensorHandle(raw, this.#status);
    this.check("TFE_NewTensorHandle");
    if (dtype === dataTypes.TF_STRING) {
      // The library never frees what strings made here own. DeepCopy's result it owns itself, so that any number of
      // tensors may share it.
      const attributes = [{ name: "T", type: attributeTypes.TF_ATTR_TYPE, value: dtype }];
      const [copy] = this.#execute("DeepCopy", attributes, [handle], 1);
      symbols.TFE_DeleteTensorHandle(handle);
      handle = copy!;
    } else if (dtype !== dataTypes.TF_INT32 && this.isUsingGpuDevice()) {
      // As the add-on does: most GPU kernels want their int32 arguments in the processor's memory.
      const there = symbols.TFE_TensorHandleCopyToDevice(
        handle,
        this.context,
        keptCString(this.#device.name),
        this.#status,
      );
      this.check("TFE_TensorHandleCopyToDevice");
      symbols.TFE_DeleteTensorHandle(handle);
      handle = there;
    }
    this.deleteRawTensor(raw, dtype);
    return this.adopt(handle);
  }

  /** Frees a tensor. */
  deleteTensor(id: number): void {
    if (this.#handles.get(id) !== recordedHandle) {
      this.library.symbols.TFE_DeleteTensorHandle(this.handle(id));
    }
    this.#handles.delete(id);
  }

  /** Copies a tensor's contents out; complex numbers as pairs (real, imaginary). */
  tensorDataSync(id: number): Float32Array | Int32Array | Uint8Array | BigInt64Array | Uint8Array[] {
    const { symbols } = this.library;
    const handle = this.handle(id);
    const dtype = symbols.TFE_TensorHandleDataType(handle);
    const raw = symbols.TFE_TensorHandleResolve(handle, this.#status);
    this.check("TFE_TensorHandleResolve");
    try {
      if (dtype === dataTypes.TF_STRING) return readStringTensor(this.library, raw);
      const bytes = new Uint8Array(Number(symbols.TF_TensorByteSize(raw)));
      if (bytes.length > 0) symbols.memcpyOut(bytes, symbols.TF_TensorData(raw), BigInt(bytes.length));
      switch (dtype) {
        case dataTypes.TF_FLOAT:
        case dataTypes.TF_COMPLEX64:
          return new Float32Array(bytes.buffer);
        case dataTypes.TF_INT32:
          return new Int32Array(bytes.buffer);
        case dataTypes.TF_INT64:
          return new BigInt64Array(bytes.buffer);
        case dataTypes.TF_BOOL:
        case dataTypes.TF_UINT8:
          return bytes;
        default:
          throw new Error(`Cannot read a tensor of TF_DataType ${dtype}: the type is not supported`);
      }
    } finally {
      symbols.TF_DeleteTensor(raw);
    }
  }

  /** Runs one operation and returns what it made. */
  executeOp(
    name: string,
    attributes: OpAttribute[],
    inputs: number[],
    outputCount: number,
  ): TensorMetadata[] {
    if (this.recorder !== undefined) return this.recorder.operation(name, attributes, inputs);
    return this.#execute(name, attributes, inputs.map((id) => this.handle(id)), outputCount)
      .map((handle) => this.#describe(handle));
  }

  #execute(name: string, attributes: OpAttribute[], inputs: bigint[], outputCount: number): bigint[] {
    const { symbols } = this.library;
    const status = this.#status;
    const operation = symbols.TFE_NewOp(this.context, keptCString(name), status);
    this.check(name);
    try {
      for (const handle of inputs) {
        symbols.TFE_OpAddInput(operation, handle, status);
        this.check(name);
      }
      for (const attribute of attributes) setAttribute(this.#setters, operation, attribute);
      const handles = new BigUint64Array(outputCount);
      this.#outputCount[0] = outputCount;
      symbols.TFE_Execute(operation, handles, this.#outputCount, status);
      this.check(name);
      return [...handles.subarray(0, this.#outputCount[0])];
    } finally {
      symbols.TFE_DeleteOp(operation);
    }
  }

  #describe(handle: bigint): TensorMetadata {
    const { symbols } = this.library;
    const rank = symbols.TFE_TensorHandleNumDims(handle, this.#status);
    this.check("TFE_TensorHandleNumDims");
    const shape: number[] = [];
    for (let i = 0; i < rank; i++) shape.push(Number(symbols.TFE_TensorHandleDim(handle, i, this.#status)));
    return { id: this.adopt(handle), shape, dtype: symbols.TFE_TensorHandleDataType(handle) };
  }

  /** Takes a handle over and returns its number. */
  adopt(handle: bigint): number {
    const id = this.#nextId++;
    this.#handles.set(id, handle);
    return id;
  }

  /** A tensor's handle; it stays the context's. */
  handle(id: number): bigint {
    const handle = this.#handles.get(id);
    if (handle === undefined) throw new Error(`Cannot use tensor ${id}: it was deleted or never made`);
    if (handle === recordedHandle) {
      throw new Error(`Cannot use tensor ${id}: it is of a step that was traced, return it from the step`);
    }
    return handle;
  }

  /** How many tensors the context holds. */
  getNumOfTensors(): number {
    return this.#handles.size;
  }
}

/** Bytes an element, by TF_DataType. */
const elementSizes: Readonly<Record<number, number>> = {
  [dataTypes.TF_FLOAT]: 4,
  [dataTypes.TF_INT32]: 4,
  [dataTypes.TF_INT64]: 8,
  [dataTypes.TF_BOOL]: 1,
  [dataTypes.TF_UINT8]: 1,
  [dataTypes.TF_COMPLEX64]: 8,
};

/**
 * A ConfigProto (tensorflow/core/protobuf/config.proto): intra_op_parallelism_threads = 2,
 * inter_op_parallelism_threads = 5, gpu_options = 6 { allow_growth = 4 }, lest the whole card be taken.
 */
function contextConfig(threads: number): Uint8Array<ArrayBuffer> {
  const count: number[] = [];
  for (let rest = threads; count.length === 0 || rest > 0; rest >>>= 7) {
    count.push((rest & 0x7f) | (rest > 0x7f ? 0x80 : 0));
  }
  return Uint8Array.from([0x10, ...count, 0x28, ...count, 0x32, 2, 0x20, 1]);
}
