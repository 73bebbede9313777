import { assertEquals, assertRejects } from "@std/assert";
import { InputError } from "../base/input_error.ts";
import { writeArchive } from "./archive_for_tests.ts";
import { archiveEntries, extractEntry, fileSha256 } from "./wheel.ts";

const text = new TextEncoder().encode("a line of text\n".repeat(100_000));

Deno.test("extractEntry() gives back what was packed, deflated or stored", async () => {
  const folder = await Deno.makeTempDir();
  const path = `${folder}/a.zip`;
  const files = { "a/text": text, "b.stored": text.subarray(7), "empty": new Uint8Array(0) };
  await writeArchive(path, files);
  const entries = await archiveEntries(path);
  assertEquals(entries.map(({ name }) => name), Object.keys(files));
  for (const entry of entries) {
    await extractEntry(path, entry, `${folder}/out`);
    assertEquals(await Deno.readFile(`${folder}/out`), files[entry.name as keyof typeof files]);
  }
  await Deno.remove(folder, { recursive: true });
});

Deno.test("archiveEntries() refuses what is no archive, or cut off", async () => {
  const path = await Deno.makeTempFile();
  await Deno.writeFile(path, text);
  await assertRejects(() => archiveEntries(path), InputError, "it is no zip archive, or it is cut off");
  await writeArchive(path, { text });
  await Deno.truncate(path, 1000);
  await assertRejects(() => archiveEntries(path), InputError, "it is no zip archive, or it is cut off");
  await Deno.remove(path);
});

Deno.test("extractEntry() refuses an entry of another length than the directory says", async () => {
  const folder = await Deno.makeTempDir();
  await writeArchive(`${folder}/a.zip`, { text });
  const [entry] = await archiveEntries(`${folder}/a.zip`);
  await assertRejects(
    () => extractEntry(`${folder}/a.zip`, { ...entry!, size: text.length + 1 }, `${folder}/out`),
    InputError,
    `Cannot unpack text from ${folder}/a.zip: it has ${text.length} of ${text.length + 1} bytes`,
  );
  await Deno.remove(folder, { recursive: true });
});

Deno.test("fileSha256() gives the checksum that everyone gives", async () => {
  const path = await Deno.makeTempFile();
  await Deno.writeTextFile(path, "abc");
  // FIPS 180-4's example "abc"
  assertEquals(await fileSha256(path), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  await Deno.remove(path);
});
