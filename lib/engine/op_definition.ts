/**
 * What TensorFlow says of an operation in its OpDef (tensorflow/core/framework/op_def.proto): which inputs are lists, and
 * whether it keeps state. A graph needs both; an eager call takes all inputs in one row.
 *
 * @module
 */
import { cString } from "./libtensorflow_symbols.ts";
import type { TensorflowBinding } from "./tensorflow_binding.ts";

/** An operation's inputs in order, and whether it keeps state from call to call. */
export interface OpDefinition {
  inputs: { isList: boolean; countAttribute: string | undefined }[];
  isStateful: boolean;
}

/** The definition of the operation `name`, read from the library. */
export function opDefinition(
  binding: TensorflowBinding,
  graph: Deno.PointerValue,
  name: string,
): OpDefinition {
  const { symbols } = binding.library;
  const buffer = symbols.TF_NewBuffer();
  symbols.TF_GraphGetOpDef(graph, cString(name), buffer, binding.status);
  binding.check(`Reading the definition of ${name}`);
  // TF_Buffer {const void* data; size_t length; …}
  const view = new Deno.UnsafePointerView(buffer!);
  const data = Deno.UnsafePointer.create(view.getBigUint64(0));
  const bytes = new Uint8Array(Number(view.getBigUint64(8)));
  new Deno.UnsafePointerView(data!).copyInto(bytes);
  symbols.TF_DeleteBuffer(buffer);
  return parseOpDefinition(bytes);
}

/** Reads OpDef's input_arg = 2 and is_stateful = 17, and ArgDef's number_attr = 5 and type_list_attr = 6. */
function parseOpDefinition(bytes: Uint8Array<ArrayBuffer>): OpDefinition {
  const definition: OpDefinition = { inputs: [], isStateful: false };
  for (const [field, value] of fields(bytes)) {
    if (field === 17) definition.isStateful = value === 1;
    if (field !== 2 || typeof value === "number") continue;
    const argument = new Map(fields(value));
    const count = argument.get(5);
    definition.inputs.push({
      isList: count !== undefined || argument.has(6),
      countAttribute: count instanceof Uint8Array ? new TextDecoder().decode(count) : undefined,
    });
  }
  return definition;
}

/** The fields of a protocol buffer: a number, or the bytes of a string or message. */
function* fields(bytes: Uint8Array<ArrayBuffer>): Generator<[number, number | Uint8Array<ArrayBuffer>]> {
  let at = 0;
  const varint = () => {
    let value = 0;
    for (let scale = 1;; scale *= 128) {
      const byte = bytes[at++]!;
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
    }
  };
  while (at < bytes.length) {
    const tag = varint();
    const kind = tag % 8;
    if (kind !== 0 && kind !== 2) throw new Error(`Cannot read an OpDef with a field of wire type ${kind}`);
    const value = varint();
    if (kind === 0) yield [(tag - kind) / 8, value];
    else yield [(tag - kind) / 8, bytes.subarray(at, at += value)];
  }
}
