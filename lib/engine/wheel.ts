/**
 * Reading a Python wheel, which is a zip archive: its checksum, and single files of it, streamed.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { InputError } from "../base/input_error.ts";

/** The SHA-256 of a file, in hexadecimal. */
export async function fileSha256(path: string): Promise<string> {
  const hash = createHash("sha256");
  using file = await Deno.open(path);
  const chunk = new Uint8Array(1 << 20);
  for (let length = await file.read(chunk); length !== null; length = await file.read(chunk)) {
    hash.update(chunk.subarray(0, length));
  }
  return hash.digest("hex");
}

/** One file in an archive: where its local header starts, how it is packed, how many bytes it takes packed and unpacked. */
export interface ArchiveEntry {
  name: string;
  method: number;
  packedSize: number;
  size: number;
  headerOffset: number;
}

/**
 * The files in a zip archive, from its central directory (APPNOTE.TXT 4.3.12 and 4.3.16). Archives of 4 GB and more are
 * not read.
 *
 * @throws {InputError} when the file is no zip archive, or is cut off.
 */
export async function archiveEntries(path: string): Promise<ArchiveEntry[]> {
  using file = await Deno.open(path);
  const { size } = await file.stat();
  const tail = await readAt(file, Math.max(0, size - 65557), Math.min(size, 65557));
  let end = tail.length - 22;
  while (end >= 0 && view(tail).getUint32(end, true) !== 0x06054b50) end--;
  if (end < 0) {
    throw new InputError(`Cannot read ${path}: it is no zip archive, or it is cut off; fetch it again`);
  }
  const count = view(tail).getUint16(end + 10, true);
  const length = view(tail).getUint32(end + 12, true);
  const directory = await readAt(file, view(tail).getUint32(end + 16, true), length);
  const entries: ArchiveEntry[] = [];
  for (let at = 0; entries.length < count;) {
    const entry = view(directory.subarray(at, at + 46));
    const nameLength = entry.getUint16(28, true);
    entries.push({
      name: new TextDecoder().decode(directory.subarray(at + 46, at + 46 + nameLength)),
      method: entry.getUint16(10, true),
      packedSize: entry.getUint32(20, true),
      size: entry.getUint32(24, true),
      headerOffset: entry.getUint32(42, true),
    });
    at += 46 + nameLength + entry.getUint16(30, true) + entry.getUint16(32, true);
  }
  return entries;
}

/**
 * Unpacks one file of an archive to `target`, and flushes it to the disk.
 *
 * @throws {InputError} when the entry's bytes are not what the directory says.
 */
export async function extractEntry(archive: string, entry: ArchiveEntry, target: string): Promise<void> {
  const file = await Deno.open(archive);
  let left = entry.packedSize;
  const packed = new ReadableStream<Uint8Array<ArrayBuffer>>({
    async start() {
      const header = view(await readAt(file, entry.headerOffset, 30));
      const start = entry.headerOffset + 30 + header.getUint16(26, true) + header.getUint16(28, true);
      await file.seek(start, Deno.SeekMode.Start);
    },
    async pull(controller) {
      const chunk = new Uint8Array(Math.min(left, 1 << 18));
      const length = left === 0 ? null : await file.read(chunk);
      if (length === null) return controller.close();
      left -= length;
      controller.enqueue(chunk.subarray(0, length));
    },
  });
  using out = await Deno.open(target, { write: true, create: true, truncate: true });
  let written = 0;
  try {
    const unpacked = entry.method === 0 ? packed : packed.pipeThrough(new DecompressionStream("deflate-raw"));
    for await (const chunk of unpacked) {
      for (let at = 0; at < chunk.length;) at += await out.write(chunk.subarray(at));
      written += chunk.length;
    }
  } finally {
    file.close();
  }
  if (written !== entry.size) {
    throw new InputError(
      `Cannot unpack ${entry.name} from ${archive}: it has ${written} of ${entry.size} bytes; fetch it again`,
    );
  }
  await out.sync();
}

async function readAt(file: Deno.FsFile, offset: number, length: number): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = new Uint8Array(length);
  await file.seek(offset, Deno.SeekMode.Start);
  let filled = 0;
  while (filled < length) {
    const more = await file.read(bytes.subarray(filled));
    if (more === null) break;
    filled += more;
  }
  return bytes.subarray(0, filled);
}

function view(bytes: Uint8Array<ArrayBuffer>): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
