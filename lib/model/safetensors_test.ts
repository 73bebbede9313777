import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import fc from "fast-check";
import fixture from "../../tests/fixtures/model.json" with { type: "json" };
import { InputError } from "../base/input_error.ts";
import { readSafetensors, writeSafetensors } from "./safetensors.ts";

const everyType = decodeURIComponent(
  new URL("../../tests/fixtures/every_type.safetensors", import.meta.url).pathname,
);

Deno.test("readSafetensors() reads every type as the Python package wrote it", async () => {
  const { tensors, metadata } = await readSafetensors(everyType);
  assertEquals(metadata, { made: "by Python" });
  assertEquals(Object.keys(tensors).sort(), Object.keys(fixture.everyType).sort());
  for (const [name, { shape, data }] of Object.entries(fixture.everyType)) {
    const bytes = Uint8Array.from(atob(data), (character) => character.charCodeAt(0));
    assertEquals(tensors[name]!.shape, shape, name);
    assertEquals([...tensors[name]!.data].map(Math.fround), [...new Float32Array(bytes.buffer)], name);
  }
  assertEquals(tensors.i64!.data instanceof Int32Array, true);
  assertEquals(tensors.bf16!.dtype, "BF16");
});

Deno.test("readSafetensors() gives back what writeSafetensors() was given", async () => {
  // What begins with "__" is the format's, or JavaScript's, own.
  const names = fc.string().filter((name) => !name.startsWith("__"));
  await fc.assert(fc.asyncProperty(
    fc.dictionary(names, fc.float32Array({ maxLength: 6 }), { maxKeys: 4 }),
    fc.dictionary(names, fc.string(), { maxKeys: 2 }),
    async (arrays, metadata) => {
      const given = Object.entries(arrays).map(([name, data]) => ({ name, shape: [1, data.length], data }));
      const bytes = writeSafetensors(
        Object.fromEntries(given.map(({ name, ...tensor }) => [name, tensor])),
        metadata,
      );
      assertEquals(new DataView(bytes.buffer).getUint32(0, true) % 8, 0);
      const read = await readSafetensors(bytes);
      assertEquals(read.metadata, { ...metadata });
      for (const { name, ...tensor } of given) assertEquals(read.tensors[name], { dtype: "F32", ...tensor });
    },
  ));
});

Deno.test("writeSafetensors() writes integers as I32 and refuses data that do not fill the shape", async () => {
  const bytes = writeSafetensors({ ids: { shape: [2], data: Int32Array.of(-1, 7) } });
  assertEquals((await readSafetensors(bytes)).tensors.ids, {
    dtype: "I32",
    shape: [2],
    data: Int32Array.of(-1, 7),
  });
  assertThrows(
    () => writeSafetensors({ w: { shape: [3], data: new Float32Array(2) } }),
    RangeError,
    `tensor "w": 2 numbers do not fill the shape [3]`,
  );
});

Deno.test("readSafetensors() says what is wrong with a file", async () => {
  const refused = async (source: string | Uint8Array, message: string) =>
    void await assertRejects(() => readSafetensors(source), InputError, message);
  const withHeader = (header: unknown, data = 0) => {
    const text = new TextEncoder().encode(typeof header === "string" ? header : JSON.stringify(header));
    const bytes = new Uint8Array(8 + text.length + data);
    new DataView(bytes.buffer).setBigUint64(0, BigInt(text.length), true);
    bytes.set(text, 8);
    return bytes;
  };
  const entry = (change: object) => ({ w: { dtype: "F32", shape: [2], data_offsets: [0, 8], ...change } });
  await refused("missing.safetensors", "Cannot read missing.safetensors: there is no such file");
  await refused(new Uint8Array(3), "3 bytes are too few for a header");
  await refused(new TextEncoder().encode("<!DOCTYPE html>"), "it is no safetensors file");
  await refused(withHeader(entry({})).subarray(0, 20), "it is cut off within the header");
  await refused(withHeader("[1]"), "its header is not a JSON object");
  await refused(withHeader("{"), "its header is not a JSON object");
  await refused(withHeader({ w: { dtype: "F32" } }), `tensor "w" lacks a valid dtype, shape or data_offsets`);
  await refused(
    withHeader(entry({ dtype: "F8_E4M3" }), 8),
    `tensor "w" has type F8_E4M3, which is not supported`,
  );
  await refused(
    withHeader(entry({ shape: [3] }), 8),
    `tensor "w" of type F32 and shape [3] needs 12 bytes, but has 8`,
  );
  await refused(
    withHeader(entry({ data_offsets: [4, 12] }), 12),
    `tensor "w" begins at byte 4 of the data, but 0`,
  );
  await refused(withHeader(entry({}), 4), "it has 4 bytes of data, but its header describes 8");
  await refused(withHeader(entry({}), 12), "it has 12 bytes of data, but its header describes 8");
  const large = withHeader(entry({ dtype: "I64", shape: [1] }), 8);
  large[large.length - 1] = 1;
  await refused(large, `tensor "w": 72057594037927936 does not fit into 32 bits`);
});
