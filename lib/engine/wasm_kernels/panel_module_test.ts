import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { narrowDepth, panelBytes, type PanelKernels, panelModule, wideDepth } from "./panel_module.ts";
import { randomStream } from "../../base/random.ts";

Deno.test("panelModule() multiplies tiles by the panel, beginning with zeros or what is there", () => {
  const memory = new WebAssembly.Memory({ initial: 2 });
  const panel = memory.buffer.byteLength - panelBytes; // the last that there is
  const numbers = new Float32Array(memory.buffer);
  const a = 1024, c = 2 ** 15, aPitch = 288, cPitch = 80, tiles = 3;
  const random = randomStream("panel_module_test");
  for (const depth of [narrowDepth, wideDepth]) {
    const module = new WebAssembly.Module(panelModule(panel, depth, 2));
    const kernels = new WebAssembly.Instance(module, { env: { memory } }).exports as unknown as PanelKernels;
    for (let deep = 8; deep <= depth; deep += 8) {
      for (const from of [0, c]) {
        for (const [multiply, height] of [[kernels.narrow, 2], [kernels.wide, 4]] as const) {
          for (let i = 0; i < numbers.length; i++) numbers[i] = 2 * random() - 1;
          const before = numbers.slice();
          multiply(a, aPitch, tiles, deep, from, from === 0 ? 0 : cPitch, c, cPitch);
          for (let row = 0; row < tiles * height; row++) {
            for (let column = 0; column < 16; column++) {
              const at = (c + row * cPitch) / 4 + column;
              let sum = from === 0 ? 0 : before[at]!;
              for (let d = 0; d < deep; d++) {
                sum += before[(a + row * aPitch) / 4 + d]! * before[panel / 4 + 16 * d + column]!;
              }
              assert(Math.abs(numbers[at]! - sum) < 2e-5, `row ${row}, column ${column} is ${numbers[at]}`);
              before[at] = numbers[at]!;
            }
          }
          const behindPanel = panel / 4 + 16 * wideDepth; // a wide tile's sums
          assertEquals(numbers.slice(0, behindPanel), before.slice(0, behindPanel)); // and writes nothing else
        }
      }
    }
  }
});

/** Multiplies in a process of its own, of which it prints the results; compiled well from the first call on. */
async function multiplyElsewhere(kernel: keyof PanelKernels, ...flags: string[]): Promise<string[]> {
  const code = `
    const { panelModule } = await import(${JSON.stringify(new URL("panel_module.ts", import.meta.url))});
    const memory = new WebAssembly.Memory({ initial: 2 }), numbers = new Float32Array(memory.buffer);
    const module = new WebAssembly.Module(panelModule(2 ** 16, ${wideDepth}, 2));
    const kernels = new WebAssembly.Instance(module, { env: { memory } }).exports;
    for (let i = 0; i < numbers.length; i++) numbers[i] = Math.sin(1.7 * i);
    for (const from of [0, 2 ** 15]) {
      kernels.${kernel}(64, 256, 8 / ${
    kernel === "wide" ? 4 : 2
  }, ${wideDepth}, from, from / 512, 2 ** 15, 64);
    }
    console.log([...new Int32Array(memory.buffer, 2 ** 15, 8 * 16)].join());`;
  const { stdout, success } = await new Deno.Command(Deno.execPath(), {
    args: ["eval", `--v8-flags=${["--no-liftoff", ...flags].join()}`, code],
    env: { DENO_V8_FLAGS: "--no-liftoff" },
    stderr: "null",
  }).output();
  return success ? new TextDecoder().decode(stdout).trimEnd().split("\n") : [];
}

Deno.test("V8 joins the vectors of wide tiles, with the same results to the last bit", async () => {
  const flag = "--experimental-wasm-revectorize";
  const [plain] = await multiplyElsewhere("narrow");
  assertEquals((await multiplyElsewhere("wide")).at(-1), plain);
  const joined = await multiplyElsewhere("wide", flag, "--trace-wasm-revectorize");
  if (joined.length === 0) return console.log(`Skipped: this V8 does not know ${flag}`);
  assertEquals(joined.at(-1), plain);
  assertStringIncludes(joined.join(), "Decided to vectorize");
});
