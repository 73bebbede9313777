import { assert, assertEquals } from "@std/assert";
import { narrowDepth, panelBytes, type PanelKernels, panelModule, wideDepth } from "./panel_module.ts";
import { randomStream } from "../../base/random.ts";
import { canJoinVectors, joinFlag } from "../../../tests/joined_vectors.ts";

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
          // It writes nothing else, but for a wide tile's sums behind the panel.
          const place = multiply === kernels.wide ? panel / 4 + 16 * wideDepth : numbers.length;
          assertEquals(numbers.slice(0, place), before.slice(0, place));
        }
      }
    }
  }
});

/** Runs code in a Deno with flags for V8, and returns the lines that it prints. */
async function printed(flags: readonly string[], code: string): Promise<string[]> {
  const { stdout, success } = await new Deno.Command(Deno.execPath(), {
    args: ["eval", `--v8-flags=${flags.join()}`, code],
    env: { DENO_V8_FLAGS: flags[0]! }, // and not this process's
    stderr: "inherit",
  }).output();
  const text = new TextDecoder().decode(stdout).trimEnd();
  assert(success, text);
  return text.split("\n");
}

Deno.test("V8 joins the vectors of wide tiles, with the same results to the last bit", {
  ignore: !await canJoinVectors(),
}, async () => {
  /** Results of a kernel that is compiled well from the first call on, behind what V8 says. */
  const multiply = async (kernel: keyof PanelKernels, tiles: number, ...flags: string[]) => {
    const code = `
      const { panelModule } = await import(${JSON.stringify(new URL("panel_module.ts", import.meta.url))});
      const memory = new WebAssembly.Memory({ initial: 2 }), numbers = new Float32Array(memory.buffer);
      const module = new WebAssembly.Module(panelModule(2 ** 16, ${wideDepth}, 2));
      const kernels = new WebAssembly.Instance(module, { env: { memory } }).exports;
      for (let i = 0; i < numbers.length; i++) numbers[i] = Math.sin(1.7 * i);
      for (const from of [0, 2 ** 15]) {
        kernels.${kernel}(64, 256, ${tiles}, ${wideDepth}, from, from / 512, 2 ** 15, 64);
      }
      console.log([...new Int32Array(memory.buffer, 2 ** 15, 8 * 16)].join());`;
    const lines = await printed(["--no-liftoff", ...flags], code);
    return { bits: lines.at(-1), joined: lines.filter((line) => /NewPackNode.*qfma/i.test(line)).length };
  };
  const { bits } = await multiply("narrow", 4);
  assertEquals((await multiply("wide", 2)).bits, bits);
  assertEquals((await multiply("wide", 2, joinFlag)).bits, bits);
  if (Deno.version.deno !== "2.9.6") return; // others may trace in another way
  // Two pairs in each of four rows, at each depth.
  assertEquals(await multiply("wide", 2, joinFlag, "--trace-wasm-revectorize"), {
    bits,
    joined: 8 * wideDepth,
  });
});
