/**
 * Small zip archives in the place of wheels, for tests.
 *
 * @module
 */

/** Writes a zip archive: every file deflated, but those whose name ends in `.stored`. */
export async function writeArchive(
  path: string,
  files: Record<string, Uint8Array<ArrayBuffer>>,
): Promise<void> {
  const parts: Uint8Array<ArrayBuffer>[] = [];
  const directory: Uint8Array<ArrayBuffer>[] = [];
  let offset = 0;
  for (const [name, content] of Object.entries(files)) {
    const method = name.endsWith(".stored") ? 0 : 8;
    const packed = method === 0 ? content : await deflated(content);
    const encoded = new TextEncoder().encode(name);
    const sizes = (header: DataView, at: number) => {
      header.setUint32(at, packed.length, true);
      header.setUint32(at + 4, content.length, true);
      header.setUint16(at + 8, encoded.length, true);
    };
    const local = new DataView(new ArrayBuffer(30));
    local.setUint32(0, 0x04034b50, true);
    local.setUint16(8, method, true);
    sizes(local, 18);
    local.setUint16(28, 5, true); // an extra field, as archivers add for times
    const central = new DataView(new ArrayBuffer(46));
    central.setUint32(0, 0x02014b50, true);
    central.setUint16(10, method, true);
    sizes(central, 20);
    central.setUint32(42, offset, true);
    parts.push(new Uint8Array(local.buffer), encoded, new Uint8Array(5), packed);
    directory.push(new Uint8Array(central.buffer), encoded);
    offset += 35 + encoded.length + packed.length;
  }
  const end = new DataView(new ArrayBuffer(22));
  end.setUint32(0, 0x06054b50, true);
  end.setUint16(10, Object.keys(files).length, true);
  end.setUint32(12, directory.reduce((sum, part) => sum + part.length, 0), true);
  end.setUint32(16, offset, true);
  await Deno.writeFile(path, new Blob([...parts, ...directory, new Uint8Array(end.buffer)]).stream());
}

async function deflated(content: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> {
  const stream = new Blob([content]).stream().pipeThrough(new CompressionStream("deflate-raw"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}
