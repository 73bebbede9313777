import { assert, assertEquals } from "@std/assert";
import { panelBytes, type PanelKernels, panelModule } from "./panel_module.ts";
import { randomStream } from "../../base/random.ts";

Deno.test("panelModule() multiplies pairs of rows by the panel, of zeros or of what is there", () => {
  const memory = new WebAssembly.Memory({ initial: 2 });
  const panel = memory.buffer.byteLength - panelBytes; // the last that there is
  const module = new WebAssembly.Module(panelModule(panel, 2));
  const kernels = new WebAssembly.Instance(module, { env: { memory } }).exports as unknown as PanelKernels;
  const numbers = new Float32Array(memory.buffer);
  const a = 1024, c = 2 ** 15, aPitch = 160, cPitch = 80, pairs = 3;
  const random = randomStream("panel_module_test");
  for (const deep of [8, 16, 24, 32]) {
    for (const from of [0, c]) {
      for (let i = 0; i < numbers.length; i++) numbers[i] = 2 * random() - 1;
      const before = numbers.slice();
      kernels.multiply(a, aPitch, pairs, deep, from, from === 0 ? 0 : cPitch, c, cPitch);
      for (let row = 0; row < 2 * pairs; row++) {
        for (let column = 0; column < 16; column++) {
          const at = (c + row * cPitch) / 4 + column;
          let sum = from === 0 ? 0 : before[at]!;
          for (let d = 0; d < deep; d++) {
            sum += before[(a + row * aPitch) / 4 + d]! * before[panel / 4 + 16 * d + column]!;
          }
          assert(Math.abs(numbers[at]! - sum) < 1e-5, `row ${row}, column ${column} is ${numbers[at]}`);
          before[at] = numbers[at]!;
        }
      }
      assertEquals(numbers, before); // and writes nothing else
    }
  }
});
