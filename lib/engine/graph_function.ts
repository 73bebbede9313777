/**
 * A step's operations as a TensorFlow function: a graph with a placeholder for every input and a constant for every tensor
 * made on the way. Nothing is computed while it is recorded: what shapes operations make, the library says by its rules,
 * and the kit by its own for its kernels.
 *
 * @module
 */
import { graphSetters, int64s, type OpAttribute, setAttribute } from "./attributes.ts";
import { outputShapes } from "./fused_kernels.ts";
import { cString, keptCString } from "./libtensorflow_symbols.ts";
import { type OpDefinition, opDefinition } from "./op_definition.ts";
import {
  recordedHandle,
  type Recorder,
  type TensorflowBinding,
  type TensorMetadata,
  type TensorValues,
} from "./tensorflow_binding.ts";

/** A value in the graph: TF_Output, and its shape. */
interface GraphValue {
  operation: bigint;
  index: number;
  shape: number[];
}

/** The graph of one step, while it is recorded and until it is a function. Tensors go by the binding's numbers. */
export class GraphRecorder implements Recorder {
  readonly #binding: TensorflowBinding;
  readonly #step: string;
  readonly #graph: Deno.PointerValue;
  readonly #setters;
  readonly #definitions = new Map<string, OpDefinition>();
  readonly #values = new Map<number, GraphValue>();
  /** What each operation but the inputs takes its inputs from. */
  readonly #sources = new Map<bigint, bigint[]>();
  readonly #inputs: GraphValue[] = [];

  /** @param step The step's name, for messages. */
  constructor(binding: TensorflowBinding, step: string) {
    this.#binding = binding;
    this.#step = step;
    this.#graph = binding.library.symbols.TF_NewGraph();
    this.#setters = graphSetters(binding.library);
  }

  /** An input of the function. */
  input(shape: number[], dtype: number): TensorMetadata {
    const { symbols } = this.#binding.library;
    const description = this.#begin("Placeholder");
    symbols.TF_SetAttrType(description, keptCString("dtype"), dtype);
    symbols.TF_SetAttrShape(description, keptCString("shape"), int64s(shape), shape.length);
    const value = { operation: this.#finish(description, "Placeholder"), index: 0, shape };
    this.#inputs.push(value);
    return this.#adopt(value, dtype);
  }

  /** A tensor made of values; its number. */
  tensor(shape: number[], dtype: number, values: TensorValues): number {
    const { symbols } = this.#binding.library;
    const tensor = this.#binding.newRawTensor(shape, dtype, values);
    const description = this.#begin("Const");
    symbols.TF_SetAttrTensor(description, keptCString("value"), tensor, this.#binding.status);
    this.#binding.deleteRawTensor(tensor, dtype);
    symbols.TF_SetAttrType(description, keptCString("dtype"), dtype);
    const operation = this.#finish(description, "Const");
    this.#sources.set(operation, []);
    return this.#adopt({ operation, index: 0, shape }, dtype).id;
  }

  /**
   * An operation, and what it makes.
   *
   * @throws if it keeps state, such as a random draw, which a function would not repeat; if an input is a tensor from
   * outside; if the shapes of what it makes depend on values.
   */
  operation(name: string, attributes: OpAttribute[], inputIds: number[]): TensorMetadata[] {
    const { symbols } = this.#binding.library;
    const definition = this.#definition(name);
    if (definition.isStateful) {
      throw new Error(`Cannot trace ${name}: it keeps state; draw random numbers outside and pass them in`);
    }
    const inputs = inputIds.map((id) => this.#value(id));
    const description = this.#begin(name);
    let taken = 0;
    for (const { isList, length } of argumentLengths(definition, attributes, inputs.length)) {
      const part = outputArray(inputs.slice(taken, taken += length));
      if (isList) symbols.TF_AddInputList(description, part, length);
      else symbols.TF_AddInput(description, part);
    }
    for (const attribute of attributes) setAttribute(this.#setters, description, attribute);
    const operation = this.#finish(description, name);
    this.#sources.set(operation, inputs.map(({ operation }) => operation));
    const known = outputShapes(
      name,
      inputs.map(({ shape }) => shape),
      Object.fromEntries(attributes.map(({ name, value }) => [name, value])),
    );
    return Array.from({ length: symbols.TF_OperationNumOutputs(operation) }, (_, index) => {
      const output = outputArray([{ operation, index }]);
      const shape = [...known?.[index] ?? this.#inferredShape(output, name)];
      if (known) {
        symbols.TF_GraphSetTensorShape(
          this.#graph,
          output,
          int64s(shape),
          shape.length,
          this.#binding.status,
        );
        this.#binding.check(`The shape of ${name}`);
      }
      return this.#adopt({ operation, index, shape }, symbols.TF_OperationOutputType(output));
    });
  }

  /** Adds what was recorded to the binding's context as the function `name`, without operations that no output needs. */
  addFunction(name: string, outputIds: readonly number[]): void {
    const { symbols } = this.#binding.library;
    // A function's output may not be its input, nor come twice: each passes through an Identity of its own.
    const outputs = outputIds.map((id) => {
      const { operation: source, index } = this.#value(id);
      const description = this.#begin("Identity");
      symbols.TF_AddInput(description, outputArray([{ operation: source, index }]));
      const operation = this.#finish(description, "Identity");
      this.#sources.set(operation, [source]);
      return { operation, index: 0 };
    });
    const body = this.#needed(outputs.map(({ operation }) => operation));
    const compiled = symbols.TF_GraphToFunction(
      this.#graph,
      cString(name),
      0,
      body.length,
      body,
      this.#inputs.length,
      outputArray(this.#inputs),
      outputs.length,
      outputArray(outputs),
      null,
      null,
      null,
      this.#binding.status,
    );
    this.#binding.check(`Building the function ${name}`);
    symbols.TFE_ContextAddFunction(this.#binding.context, compiled, this.#binding.status);
    symbols.TF_DeleteFunction(compiled);
    this.#binding.check(`Adding the function ${name}`);
  }

  /** Frees the graph. */
  dispose(): void {
    this.#binding.library.symbols.TF_DeleteGraph(this.#graph);
  }

  /** The operations that the given ones depend on, and these, in the order in which they were recorded. */
  #needed(operations: bigint[]): BigUint64Array<ArrayBuffer> {
    const needed = new Set(operations);
    const kept = [...this.#sources].reverse().filter(([operation, sources]) => {
      if (!needed.has(operation)) return false;
      for (const source of sources) needed.add(source);
      return true;
    });
    return BigUint64Array.from(kept.reverse(), ([operation]) => operation);
  }

  #definition(name: string): OpDefinition {
    let definition = this.#definitions.get(name);
    if (definition === undefined) {
      this.#definitions.set(name, definition = opDefinition(this.#binding, this.#graph, name));
    }
    return definition;
  }

  #value(id: number): GraphValue {
    const value = this.#values.get(id);
    if (value === undefined) throw this.captured();
    return value;
  }

  /** That the step uses a tensor which neither is its input nor was made inside. */
  captured(): Error {
    return new Error(
      `Cannot trace step "${this.#step}": it uses a tensor from outside that is no input; pass it as an argument`,
    );
  }

  #adopt(value: GraphValue, dtype: number): TensorMetadata {
    const id = this.#binding.adopt(recordedHandle);
    this.#values.set(id, value);
    return { id, shape: value.shape, dtype };
  }

  #begin(type: string): Deno.PointerValue {
    const name = `n${this.#sources.size + this.#inputs.length}`;
    return this.#binding.library.symbols.TF_NewOperation(this.#graph, cString(type), cString(name));
  }

  #finish(description: Deno.PointerValue, type: string): bigint {
    const operation = this.#binding.library.symbols.TF_FinishOperation(description, this.#binding.status);
    this.#binding.check(type);
    return operation;
  }

  #inferredShape(output: BigUint64Array<ArrayBuffer>, name: string): number[] {
    const { symbols } = this.#binding.library;
    const { status } = this.#binding;
    const rank = symbols.TF_GraphGetTensorNumDims(this.#graph, output, status);
    this.#binding.check(`The shape of ${name}`);
    const dims = new BigInt64Array(Math.max(0, rank));
    if (rank > 0) symbols.TF_GraphGetTensorShape(this.#graph, output, dims, rank, status);
    this.#binding.check(`The shape of ${name}`);
    const shape = Array.from(dims, Number);
    if (rank >= 0 && shape.every((size) => size >= 0)) return shape;
    throw new Error(
      `Cannot trace step "${this.#step}": the shape of what ${name} makes depends on values; compute it outside`,
    );
  }
}

/** Takes the function `name` out of the binding's context. */
export function removeFunction(binding: TensorflowBinding, name: string): void {
  binding.library.symbols.TFE_ContextRemoveFunction(binding.context, cString(name), binding.status);
  binding.check(`Removing the function ${name}`);
}

/** How many of an operation's inputs each of its arguments takes: one, or as many as its list is long. */
function argumentLengths(
  definition: OpDefinition,
  attributes: OpAttribute[],
  inputCount: number,
): { isList: boolean; length: number }[] {
  const counted = definition.inputs.map(({ isList, countAttribute }) => {
    const attribute = attributes.find(({ name }) => name === countAttribute);
    return { isList, length: isList ? attribute?.value as number | undefined : 1 };
  });
  const known = counted.reduce((sum, { length }) => sum + (length ?? 0), 0);
  return counted.map(({ isList, length }) => ({ isList, length: length ?? inputCount - known }));
}

/** An array of TF_Output: 16 bytes each. */
function outputArray(
  values: readonly { operation: bigint; index: number }[],
): BigUint64Array<ArrayBuffer> {
  return BigUint64Array.from(values.flatMap(({ operation, index }) => [operation, BigInt(index)]));
}
