/**
 * From the operations of one recorded run to a TensorFlow function: a graph with a placeholder for every input, a
 * constant for every tensor made on the way, and no operation that no output needs.
 *
 * @module
 */
import { graphSetters, int64s, type OpAttribute, setAttribute } from "./attributes.ts";
import { cString, keptCString } from "./libtensorflow_symbols.ts";
import { type OpDefinition, opDefinition } from "./op_definition.ts";
import type { TensorflowBinding, TensorMetadata, TensorValues } from "./tensorflow_binding.ts";

/** One run of a step: what it made from values, what it computed, and from what. Tensors go by the binding's numbers. */
export interface Recording {
  inputs: TensorMetadata[];
  constants: Map<number, { shape: number[]; dtype: number; values: TensorValues }>;
  operations: { name: string; attributes: OpAttribute[]; inputs: number[]; outputs: TensorMetadata[] }[];
  outputs: number[];
}

/** A value in the graph: TF_Output. */
interface GraphValue {
  operation: bigint;
  index: number;
}

/**
 * Adds a recording to the binding's context as the function `name`.
 *
 * @throws if an operation keeps state, such as a random draw, which a function would not repeat.
 */
export function addFunction(binding: TensorflowBinding, name: string, recording: Recording): void {
  const { symbols } = binding.library;
  const graph = symbols.TF_NewGraph();
  try {
    const { inputs, outputs } = buildGraph(binding, graph, recording);
    const compiled = symbols.TF_GraphToFunction(
      graph,
      cString(name),
      0,
      -1,
      null,
      inputs.length,
      outputArray(inputs),
      outputs.length,
      outputArray(outputs),
      null,
      null,
      null,
      binding.status,
    );
    binding.check(`Building the function ${name}`);
    symbols.TFE_ContextAddFunction(binding.context, compiled, binding.status);
    symbols.TF_DeleteFunction(compiled);
    binding.check(`Adding the function ${name}`);
  } finally {
    symbols.TF_DeleteGraph(graph);
  }
}

/** Takes the function `name` out of the binding's context. */
export function removeFunction(binding: TensorflowBinding, name: string): void {
  binding.library.symbols.TFE_ContextRemoveFunction(binding.context, cString(name), binding.status);
  binding.check(`Removing the function ${name}`);
}

function buildGraph(
  binding: TensorflowBinding,
  graph: Deno.PointerValue,
  recording: Recording,
): { inputs: GraphValue[]; outputs: GraphValue[] } {
  const { symbols } = binding.library;
  const setters = graphSetters(binding.library);
  const definitions = new Map<string, OpDefinition>();
  const values = new Map<number, GraphValue>();
  let nodes = 0;

  const begin = (type: string) => symbols.TF_NewOperation(graph, cString(type), cString(`n${nodes++}`));
  const finish = (description: Deno.PointerValue, type: string): bigint => {
    const operation = symbols.TF_FinishOperation(description, binding.status);
    binding.check(`Adding ${type} to a graph`);
    return operation;
  };
  const valueOf = (id: number): GraphValue => {
    const known = values.get(id);
    if (known !== undefined) return known;
    const { shape, dtype, values: contents } = recording.constants.get(id)!;
    const description = begin("Const");
    const tensor = binding.newRawTensor(shape, dtype, contents);
    symbols.TF_SetAttrTensor(description, keptCString("value"), tensor, binding.status);
    binding.deleteRawTensor(tensor, dtype);
    symbols.TF_SetAttrType(description, keptCString("dtype"), dtype);
    const value = { operation: finish(description, "Const"), index: 0 };
    values.set(id, value);
    return value;
  };

  const inputs = recording.inputs.map(({ id, shape, dtype }) => {
    const description = begin("Placeholder");
    symbols.TF_SetAttrType(description, keptCString("dtype"), dtype);
    symbols.TF_SetAttrShape(description, keptCString("shape"), int64s(shape), shape.length);
    const value = { operation: finish(description, "Placeholder"), index: 0 };
    values.set(id, value);
    return value;
  });

  for (const { name, attributes, inputs: ids, outputs } of neededOperations(recording)) {
    let definition = definitions.get(name);
    if (definition === undefined) definitions.set(name, definition = opDefinition(binding, graph, name));
    if (definition.isStateful) {
      throw new Error(`Cannot trace ${name}: it keeps state; draw random numbers outside and pass them in`);
    }
    const arguments_ = ids.map(valueOf); // constants come before the operation that is being described
    const description = begin(name);
    for (const { isList, length } of argumentLengths(definition, attributes, ids.length)) {
      const part = arguments_.splice(0, length);
      if (isList) symbols.TF_AddInputList(description, outputArray(part), part.length);
      else symbols.TF_AddInput(description, outputArray(part));
    }
    for (const attribute of attributes) setAttribute(setters, description, attribute);
    const operation = finish(description, name);
    outputs.forEach(({ id }, index) => values.set(id, { operation, index }));
  }

  // A function's output may not be its input, nor come twice: each passes through an Identity of its own.
  const outputs = recording.outputs.map((id) => {
    const description = begin("Identity");
    symbols.TF_AddInput(description, outputArray([valueOf(id)]));
    return { operation: finish(description, "Identity"), index: 0 };
  });
  return { inputs, outputs };
}

/** The operations that the outputs depend on, in the order in which they ran. */
function neededOperations(recording: Recording): Recording["operations"] {
  const needed = new Set(recording.outputs);
  const kept = recording.operations.toReversed().filter(({ inputs, outputs }) => {
    if (!outputs.some(({ id }) => needed.has(id))) return false;
    for (const id of inputs) needed.add(id);
    return true;
  });
  return kept.reverse();
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
function outputArray(values: readonly GraphValue[]): BigUint64Array<ArrayBuffer> {
  return BigUint64Array.from(values.flatMap(({ operation, index }) => [operation, BigInt(index)]));
}
