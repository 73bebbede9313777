/**
 * The safetensors format (github.com/huggingface/safetensors): eight bytes with the header's length, a JSON header
 * {name: {dtype, shape, data_offsets}}, then the tensors one after another, little-endian.
 *
 * @module
 */
import { InputError } from "../base/input_error.ts";

/** A tensor on the host. Floating-point types are widened or narrowed to float32, the others to int32. */
export interface HostTensor {
  /** The type in the file. */
  dtype: string;
  shape: number[];
  data: Float32Array | Int32Array;
}

/** What a safetensors file holds. */
export interface SafetensorsFile {
  tensors: Record<string, HostTensor>;
  metadata: Record<string, string>;
}

/** Bytes an element takes and how its bytes become numbers. */
const dtypes: Record<
  string,
  { size: number; decode: (bytes: DataView, count: number) => Float32Array | Int32Array }
> = {
  F32: {
    size: 4,
    decode: (view, n) => Float32Array.from({ length: n }, (_, i) => view.getFloat32(4 * i, true)),
  },
  F64: {
    size: 8,
    decode: (view, n) => Float32Array.from({ length: n }, (_, i) => view.getFloat64(8 * i, true)),
  },
  F16: {
    size: 2,
    decode: (view, n) => Float32Array.from({ length: n }, (_, i) => halfToFloat(view.getUint16(2 * i, true))),
  },
  BF16: { size: 2, decode: bfloats },
  I32: { size: 4, decode: (view, n) => Int32Array.from({ length: n }, (_, i) => view.getInt32(4 * i, true)) },
  I64: {
    size: 8,
    decode: (view, n) => Int32Array.from({ length: n }, (_, i) => narrowed(view.getBigInt64(8 * i, true))),
  },
  U8: { size: 1, decode: (view, n) => Int32Array.from({ length: n }, (_, i) => view.getUint8(i)) },
  BOOL: { size: 1, decode: (view, n) => Int32Array.from({ length: n }, (_, i) => view.getUint8(i)) },
};

/** Longest header that the Python package reads. */
const maxHeader = 100_000_000;

/**
 * Reads a safetensors file.
 *
 * @param source A path, or the file's bytes.
 * @throws {InputError} when the file is missing, cut off or inconsistent, or holds a type that is not supported; the line
 * names the file and the tensor.
 *
 * @example
 * ```ts
 * import { readSafetensors, writeSafetensors } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * const bytes = writeSafetensors({ w: { shape: [1, 2], data: Float32Array.of(1, 2) } }, { note: "x" });
 * const { tensors, metadata } = await readSafetensors(bytes);
 * assertEquals([...tensors.w!.data], [1, 2]);
 * assertEquals(metadata, { note: "x" });
 * ```
 */
export async function readSafetensors(source: string | Uint8Array): Promise<SafetensorsFile> {
  if (typeof source !== "string") {
    return await readParts(
      "these bytes",
      source.length,
      (start, end) => Promise.resolve(source.slice(start, end)),
    );
  }
  let file: Deno.FsFile;
  try {
    file = await Deno.open(source);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) {
      throw new InputError(`Cannot read ${source}: there is no such file`);
    }
    throw error;
  }
  try {
    return await readParts(source, (await file.stat()).size, async (start, end) => {
      await file.seek(start, Deno.SeekMode.Start);
      const bytes = new Uint8Array(end - start);
      for (let at = 0; at < bytes.length;) {
        const read = await file.read(bytes.subarray(at));
        if (read === null) {
          throw new InputError(`Cannot read ${source}: it ends early; copy or download it again`);
        }
        at += read;
      }
      return bytes;
    });
  } finally {
    file.close();
  }
}

type ReadBytes = (start: number, end: number) => Promise<Uint8Array>;

async function readParts(name: string, length: number, read: ReadBytes): Promise<SafetensorsFile> {
  const broken = (why: string) => new InputError(`Cannot read ${name} as safetensors: ${why}`);
  if (length < 8) throw broken(`${length} bytes are too few for a header`);
  const headerLength = Number(new DataView((await read(0, 8)).buffer).getBigUint64(0, true));
  if (headerLength > maxHeader) {
    throw broken(`its header claims ${headerLength} bytes; it is no safetensors file`);
  }
  const dataStart = 8 + headerLength;
  if (dataStart > length) throw broken("it is cut off within the header; copy or download it again");
  const { __metadata__: metadata = {}, ...entries } = parseHeader(await read(8, dataStart), broken);

  const tensors: Record<string, HostTensor> = {};
  const byOffset = Object.entries(entries).map(([key, entry]) => checkedEntry(key, entry, broken));
  byOffset.sort((a, b) => a.start - b.start || a.end - b.end);
  let next = 0;
  for (const { key, start, end } of byOffset) {
    if (start !== next) {
      throw broken(`tensor "${key}" begins at byte ${start} of the data, but ${next} was expected`);
    }
    next = end;
  }
  if (dataStart + next !== length) {
    throw broken(
      `it has ${
        length - dataStart
      } bytes of data, but its header describes ${next}; copy or download it again`,
    );
  }
  for (const { key, dtype, shape, start, end } of byOffset) {
    const bytes = await read(dataStart + start, dataStart + end);
    const count = shape.reduce((product, n) => product * n, 1);
    try {
      tensors[key] = { dtype, shape, data: dtypes[dtype]!.decode(new DataView(bytes.buffer), count) };
    } catch (error) {
      if (error instanceof RangeError) throw broken(`tensor "${key}": ${error.message}`);
      throw error;
    }
  }
  return { tensors, metadata: metadata as Record<string, string> };
}

function parseHeader(bytes: Uint8Array, broken: (why: string) => InputError): Record<string, unknown> {
  try {
    const header = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
    if (typeof header === "object" && header !== null && !Array.isArray(header)) return header;
  } catch {
    // Told below.
  }
  throw broken("its header is not a JSON object");
}

interface Entry {
  key: string;
  dtype: string;
  shape: number[];
  start: number;
  end: number;
}

function checkedEntry(key: string, value: unknown, broken: (why: string) => InputError): Entry {
  const { dtype, shape, data_offsets: offsets } = (value ?? {}) as Record<string, unknown>;
  const counts = (list: unknown): list is number[] =>
    Array.isArray(list) && list.every((n) => Number.isSafeInteger(n) && n >= 0);
  if (typeof dtype !== "string" || !counts(shape) || !counts(offsets) || offsets.length !== 2) {
    throw broken(`tensor "${key}" lacks a valid dtype, shape or data_offsets`);
  }
  const known = dtypes[dtype];
  if (!known) {
    const names = Object.keys(dtypes).join(", ");
    throw broken(`tensor "${key}" has type ${dtype}, which is not supported; convert it to one of ${names}`);
  }
  const [start, end] = offsets as [number, number];
  const bytes = shape.reduce((product, n) => product * n, known.size);
  if (end - start !== bytes) {
    throw broken(
      `tensor "${key}" of type ${dtype} and shape [${shape}] needs ${bytes} bytes, but has ${end - start}`,
    );
  }
  return { key, dtype, shape, start, end };
}

/**
 * The bytes of a safetensors file of float32 (F32) and int32 (I32) tensors. As the Python package does it, the header is
 * filled up with spaces to a multiple of eight bytes and the tensors stand in the order of their names.
 *
 * @param metadata Strings by name; transformers wants `format: "pt"`.
 * @throws {RangeError} when a tensor's data do not fit its shape.
 *
 * @example
 * ```ts
 * import { writeSafetensors } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * const bytes = writeSafetensors({ w: { shape: [2], data: Float32Array.of(1, 2) } });
 * assertEquals(bytes.length % 8, 0);
 * ```
 */
export function writeSafetensors(
  tensors: Record<string, { shape: readonly number[]; data: Float32Array | Int32Array }>,
  metadata: Record<string, string> = {},
): Uint8Array {
  const names = Object.keys(tensors).sort();
  const header: Record<string, unknown> = Object.keys(metadata).length > 0 ? { __metadata__: metadata } : {};
  let offset = 0;
  for (const name of names) {
    const { shape, data } = tensors[name]!;
    if (shape.reduce((product, n) => product * n, 1) !== data.length) {
      throw new RangeError(
        `Cannot write tensor "${name}": ${data.length} numbers do not fill the shape [${shape}]`,
      );
    }
    const dtype = data instanceof Float32Array ? "F32" : "I32";
    header[name] = { dtype, shape, data_offsets: [offset, offset += data.byteLength] };
  }
  const text = new TextEncoder().encode(JSON.stringify(header));
  const headerLength = Math.ceil(text.length / 8) * 8;
  const bytes = new Uint8Array(8 + headerLength + offset).fill(0x20, 8, 8 + headerLength);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(headerLength), true);
  bytes.set(text, 8);
  let at = 8 + headerLength;
  for (const name of names) {
    // Typed arrays are little-endian on every machine that Deno runs on.
    const { buffer, byteOffset, byteLength } = tensors[name]!.data;
    bytes.set(new Uint8Array(buffer, byteOffset, byteLength), at);
    at += byteLength;
  }
  return bytes;
}

/** bfloat16 is the upper half of a float32. */
function bfloats(view: DataView, count: number): Float32Array {
  const bits = new Uint32Array(count);
  for (let i = 0; i < count; i++) bits[i] = view.getUint16(2 * i, true) << 16;
  return new Float32Array(bits.buffer);
}

/** IEEE 754 binary16 to a number. */
function halfToFloat(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

function narrowed(value: bigint): number {
  if (value < -(2n ** 31n) || value >= 2n ** 31n) throw new RangeError(`${value} does not fit into 32 bits`);
  return Number(value);
}
