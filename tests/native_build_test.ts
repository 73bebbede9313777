/** The checked-in libraries of kernels are what their source compiles to. */
import { assertEquals } from "@std/assert";
import { buildNative } from "../lib/engine/native/build.ts";
import { pythonWith } from "./python.ts";

const python = await pythonWith("ziglang");

Deno.test("buildNative() gives the bytes of the checked-in libraries", { ignore: !python }, async () => {
  for (const { path, bytes } of await buildNative(python!)) assertEquals(bytes, await Deno.readFile(path));
});
