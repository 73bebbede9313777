/**
 * TensorBoard event files, written by hand: a TFRecord file of `Event` protocol buffers
 * (tensorflow/core/util/event.proto, tensorflow/core/framework/summary.proto). Only scalars, as `simple_value`.
 *
 * @module
 */
import { AppendLog } from "./append_log.ts";
import type { MetricsRow } from "./metrics.ts";

/** The event file's name; TensorBoard looks for `tfevents` in it. */
export const eventFileName = "events.out.tfevents.search-e1";

/**
 * Opens an event file cut back to `length` bytes; a fresh one begins with the version event.
 *
 * @throws {Error} when the file is shorter than `length`.
 *
 * @example
 * ```ts
 * import { openEvents } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * const path = await Deno.makeTempFile();
 * const log = await openEvents(path);
 * log.close();
 * assertEquals((await Deno.stat(path)).size, log.length);
 * await Deno.remove(path);
 * ```
 */
export async function openEvents(path: string, length = 0): Promise<AppendLog> {
  const log = await AppendLog.open(path, length);
  if (length === 0) {
    await log.append(tfRecord(eventProto({ fileVersion: "brain.Event:2" }, Date.now() / 1000)));
  }
  return log;
}

/**
 * Appends the numbers of a metrics row as scalars at its step.
 *
 * @param wallTime Seconds since 1970.
 *
 * @example
 * ```ts
 * import { appendEvents, openEvents } from "@search-e1/kit";
 * import { assert } from "@std/assert";
 *
 * const path = await Deno.makeTempFile();
 * const log = await openEvents(path);
 * const { length } = log;
 * await appendEvents(log, { step: 1, stage: "sft", loss: 2.5 });
 * log.close();
 * assert(length > 0 && (await Deno.stat(path)).size > length);
 * ```
 */
export function appendEvents(
  log: AppendLog,
  row: MetricsRow,
  wallTime: number = Date.now() / 1000,
): Promise<void> {
  const scalars = Object.entries(row).filter((entry): entry is [string, number] =>
    entry[0] !== "step" && typeof entry[1] === "number"
  );
  return log.append(tfRecord(eventProto({ step: row.step, scalars }, wallTime)));
}

/**
 * One TFRecord: length, masked CRC of the length, data, masked CRC of the data.
 *
 * @example
 * ```ts
 * import { tfRecord } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(tfRecord(Uint8Array.of(1, 2, 3)).length, 8 + 4 + 3 + 4);
 * ```
 */
export function tfRecord(data: Uint8Array): Uint8Array {
  const out = new Uint8Array(data.length + 16);
  const view = new DataView(out.buffer);
  view.setBigUint64(0, BigInt(data.length), true);
  view.setUint32(8, maskedCrc(out.subarray(0, 8)), true);
  out.set(data, 12);
  view.setUint32(12 + data.length, maskedCrc(data), true);
  return out;
}

interface EventFields {
  fileVersion?: string;
  step?: number;
  scalars?: [tag: string, value: number][];
}

/** `Event {double wall_time = 1; int64 step = 2; string file_version = 3; Summary summary = 5}`. */
function eventProto({ fileVersion, step, scalars }: EventFields, wallTime: number): Uint8Array {
  const parts: Uint8Array[] = [
    Uint8Array.of(tag(1, 1), ...littleEndian(8, (view) => view.setFloat64(0, wallTime, true))),
  ];
  if (step !== undefined) parts.push(Uint8Array.of(tag(2, 0), ...varint(step)));
  if (fileVersion !== undefined) parts.push(lengthDelimited(3, new TextEncoder().encode(fileVersion)));
  if (scalars) {
    parts.push(
      lengthDelimited(5, concat(scalars.map(([name, value]) => lengthDelimited(1, valueProto(name, value))))),
    );
  }
  return concat(parts);
}

/** `Summary.Value {string tag = 1; float simple_value = 2}`. */
function valueProto(name: string, value: number): Uint8Array {
  return concat([
    lengthDelimited(1, new TextEncoder().encode(name)),
    Uint8Array.of(tag(2, 5), ...littleEndian(4, (view) => view.setFloat32(0, value, true))),
  ]);
}

/** A field's key byte: its number and its wire type (0 varint, 1 eight bytes, 2 length-delimited, 5 four bytes). */
function tag(field: number, wireType: 0 | 1 | 2 | 5): number {
  return field << 3 | wireType;
}

function lengthDelimited(field: number, data: Uint8Array): Uint8Array {
  return concat([Uint8Array.of(tag(field, 2), ...varint(data.length)), data]);
}

function varint(value: number): number[] {
  const bytes: number[] = [];
  while (value >= 128) {
    bytes.push(value % 128 + 128);
    value = Math.floor(value / 128);
  }
  return [...bytes, value];
}

function littleEndian(size: number, write: (view: DataView) => void): Uint8Array {
  const bytes = new Uint8Array(size);
  write(new DataView(bytes.buffer));
  return bytes;
}

function concat(parts: readonly Uint8Array[]): Uint8Array {
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    out.set(part, offset);
    offset += part.length;
  }
  return out;
}

const crcTable = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? crc >>> 1 ^ 0x82f63b78 : crc >>> 1;
  return crc;
});

/**
 * CRC-32C (Castagnoli, reflected polynomial 0x82f63b78).
 *
 * @example
 * ```ts
 * import { crc32c } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * // The check value of RFC 3720's CRC: nine digits.
 * assertEquals(crc32c(new TextEncoder().encode("123456789")), 0xe3069283);
 * ```
 */
export function crc32c(data: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of data) crc = crcTable[(crc ^ byte) & 255]! ^ crc >>> 8;
  return (crc ^ 0xffffffff) >>> 0;
}

/** TFRecord's mask: rotated right by 15 bits, plus a constant. */
function maskedCrc(data: Uint8Array): number {
  const crc = crc32c(data);
  return ((crc >>> 15 | crc << 17) + 0xa282ead8) >>> 0;
}
