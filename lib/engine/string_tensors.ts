/**
 * String tensors: arrays of TF_TString (tensorflow/c/tf_tstring.h), 24 bytes each, which may own memory of their own.
 *
 * @module
 */
import { int64s } from "./attributes.ts";
import { dataTypes, type Libtensorflow } from "./libtensorflow_symbols.ts";

const stringSize = 24n;

/** Allocates a TF_Tensor of strings, given as UTF-8 or any other bytes. */
export function newStringTensor(
  { symbols }: Libtensorflow,
  shape: readonly number[],
  strings: readonly Uint8Array<ArrayBuffer>[],
): bigint {
  const size = BigInt(strings.length) * stringSize;
  const tensor = symbols.TF_AllocateTensor(dataTypes.TF_STRING, int64s(shape), shape.length, size);
  let at = symbols.TF_TensorData(tensor);
  for (const bytes of strings) {
    symbols.TF_StringInit(at);
    symbols.TF_StringCopy(at, bytes, BigInt(bytes.length));
    at += stringSize;
  }
  return tensor;
}

/** Deletes a tensor that {@linkcode newStringTensor} made, with what its strings own. */
export function deleteStringTensor({ symbols }: Libtensorflow, tensor: bigint): void {
  const start = symbols.TF_TensorData(tensor);
  const count = symbols.TF_TensorElementCount(tensor);
  for (let i = 0n; i < count; i++) symbols.TF_StringDealloc(start + i * stringSize);
  symbols.TF_DeleteTensor(tensor);
}

/** Copies the strings out of a TF_Tensor. */
export function readStringTensor({ symbols }: Libtensorflow, tensor: bigint): Uint8Array<ArrayBuffer>[] {
  const start = symbols.TF_TensorData(tensor);
  const count = Number(symbols.TF_TensorElementCount(tensor));
  return Array.from({ length: count }, (_, i) => {
    const at = start + BigInt(i) * stringSize;
    const bytes = new Uint8Array(Number(symbols.TF_StringGetSize(at)));
    if (bytes.length > 0) {
      symbols.memcpyOut(bytes, symbols.TF_StringGetDataPointer(at), BigInt(bytes.length));
    }
    return bytes;
  });
}
