/**
 * What can be told of a shared library from its header, before it is loaded: a loader answers a truncated file with a
 * bus error, and a foreign one with "No such file".
 *
 * @module
 */

/** Machines by their number in an ELF header (e_machine) and in a Mach-O one (cputype). */
const elfMachines: Readonly<Record<number, string>> = { 0x3e: "x86_64", 0xb7: "aarch64" };
const machMachines: Readonly<Record<number, string>> = { 0x01000007: "x86_64", 0x0100000c: "aarch64" };

/** Why the file at `path` cannot be a library for this machine, or undefined when nothing speaks against it. */
export function libraryComplaint(
  path: string | URL,
  machine: { os: string; arch: string } = Deno.build,
): string | undefined {
  const bytes = new Uint8Array(4096);
  let length: number;
  let size: number;
  try {
    using file = Deno.openSync(path);
    length = file.readSync(bytes) ?? 0;
    size = file.statSync().size;
  } catch (error) {
    return error instanceof Deno.errors.NotFound ? "there is no such file" : (error as Error).message;
  }
  const view = new DataView(bytes.buffer, 0, length);
  const wanted = machine.os === "darwin" ? "Mach-O" : "ELF";
  if (length < 64) return `it is not a shared library: it has ${size} bytes`;
  const magic = view.getUint32(0, true);
  const kind = magic === 0x464c457f ? "ELF" : magic === 0xfeedfacf ? "Mach-O" : undefined;
  if (kind === undefined) return "it is not a shared library: its first bytes are not those of one";
  if (kind !== wanted) return `it is a ${kind} file, and this machine takes ${wanted}`;
  const number = kind === "ELF" ? view.getUint16(18, true) : view.getUint32(4, true);
  const arch = (kind === "ELF" ? elfMachines : machMachines)[number] ?? `machine 0x${number.toString(16)}`;
  if (arch !== machine.arch) return `it is for ${arch}, and this machine is ${machine.arch}`;
  if (kind === "ELF" && elfEnd(view) > size) return `it is cut off: it has ${size} of ${elfEnd(view)} bytes`;
  return undefined;
}

/** Where the last segment of a 64-bit ELF file ends, by its program headers. */
function elfEnd(view: DataView): number {
  const start = Number(view.getBigUint64(32, true));
  const entrySize = view.getUint16(54, true);
  const count = view.getUint16(56, true);
  let end = start + count * entrySize;
  for (let i = 0; i < count && start + (i + 1) * entrySize <= view.byteLength; i++) {
    const at = start + i * entrySize;
    const [offset, size] = [view.getBigUint64(at + 8, true), view.getBigUint64(at + 32, true)];
    end = Math.max(end, Number(offset + size));
  }
  return end;
}
