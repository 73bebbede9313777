import { assert, assertEquals } from "@std/assert";
import { libraryComplaint } from "./library_file.ts";

/** The first bytes of a 64-bit ELF library with one segment that ends at `end`. */
function elf(machine: number, end: number): Uint8Array {
  const bytes = new Uint8Array(120);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, 0x464c457f, true);
  view.setUint16(18, machine, true);
  view.setBigUint64(32, 64n, true); // e_phoff
  view.setUint16(54, 56, true); // e_phentsize
  view.setUint16(56, 1, true); // e_phnum
  view.setBigUint64(64 + 8, 100n, true); // p_offset
  view.setBigUint64(64 + 32, BigInt(end - 100), true); // p_filesz
  return bytes;
}

function machO(cpu: number): Uint8Array {
  const bytes = new Uint8Array(120);
  new DataView(bytes.buffer).setUint32(0, 0xfeedfacf, true);
  new DataView(bytes.buffer).setUint32(4, cpu, true);
  return bytes;
}

const linux = { os: "linux", arch: "x86_64" };
const mac = { os: "darwin", arch: "aarch64" };
const cases: [string, Uint8Array, typeof linux, string | undefined][] = [
  ["takes a whole library of this machine", elf(0x3e, 120), linux, undefined],
  ["takes a Mach-O library on macOS", machO(0x0100000c), mac, undefined],
  ["names a foreign processor", elf(0xb7, 120), linux, "it is for aarch64, and this machine is x86_64"],
  ["names an unknown processor", elf(0x15, 120), linux, "it is for machine 0x15, and this machine is x86_64"],
  [
    "names a foreign processor on macOS",
    machO(0x01000007),
    mac,
    "it is for x86_64, and this machine is aarch64",
  ],
  ["names a foreign system", machO(0x01000007), linux, "it is a Mach-O file, and this machine takes ELF"],
  ["names a library that is cut off", elf(0x3e, 5000), linux, "it is cut off: it has 120 of 5000 bytes"],
  [
    "names a text",
    new TextEncoder().encode("Not a library at all. ".repeat(9)),
    linux,
    "it is not a shared library: its first bytes are not those of one",
  ],
  ["names an empty file", new Uint8Array(0), linux, "it is not a shared library: it has 0 bytes"],
];

for (const [name, bytes, machine, expected] of cases) {
  Deno.test(`libraryComplaint() ${name}`, async () => {
    const path = await Deno.makeTempFile();
    await Deno.writeFile(path, bytes);
    assertEquals(libraryComplaint(path, machine), expected);
    await Deno.remove(path);
  });
}

Deno.test("libraryComplaint() names a file that is not there", () => {
  assertEquals(libraryComplaint("/nowhere/lib.so", linux), "there is no such file");
});

Deno.test("libraryComplaint() takes the URL of a file in a folder with a space", async () => {
  const folder = await Deno.makeTempDir({ prefix: "a folder " });
  const file = new URL(`file://${folder}/lib.so`);
  assertEquals(libraryComplaint(file, linux), "there is no such file");
  await Deno.writeFile(file, new Uint8Array(3));
  assertEquals(libraryComplaint(file, linux), libraryComplaint(`${folder}/lib.so`, linux));
  assert(libraryComplaint(file, linux) !== "there is no such file");
  await Deno.remove(folder, { recursive: true });
});
