import { assertEquals } from "@std/assert";
import { buildKernels, moduleNames } from "./build.ts";

for (const name of moduleNames) {
  Deno.test(`buildKernels("${name}") gives the bytes of the checked-in module`, async () => {
    assertEquals(await buildKernels(name), await Deno.readFile(new URL(name, import.meta.url)));
  });
}
