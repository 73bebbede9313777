import { assertEquals } from "@std/assert";
import { isSoftware } from "./webgpu_adapter.ts";

Deno.test("isSoftware() tells a graphics card from a driver that computes on the processor", () => {
  const adapter = (description: string) => ({ description, vendor: "" });
  assertEquals(isSoftware(adapter("NVIDIA GeForce RTX 4090")), false);
  assertEquals(isSoftware(adapter("Apple M2")), false);
  assertEquals(isSoftware(adapter("llvmpipe (LLVM 15.0.6, 256 bits)")), true);
  assertEquals(isSoftware(adapter("SwiftShader Device (Subzero)")), true);
  assertEquals(isSoftware({ ...adapter("unknown"), isFallbackAdapter: true }), true);
});
