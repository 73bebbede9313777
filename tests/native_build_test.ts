/** The checked-in library of kernels is what its source compiles to. */
import { assertEquals } from "@std/assert";
import { buildNative, nativePath } from "../lib/engine/native/build.ts";
import { pythonWith } from "./python.ts";

const python = await pythonWith("ziglang");

Deno.test("buildNative() gives the bytes of the checked-in library", { ignore: !python }, async () => {
  assertEquals(await buildNative(python!), await Deno.readFile(nativePath));
});
