/** `SEARCH_E1_NATIVE` and V8's flags choose between the kit's own kernels, and `deno task doctor` says which compute. */
import { assertEquals, assertMatch } from "@std/assert";
import { needsTensorflow } from "../lib/engine/tensorflow_for_tests.ts";
import { nativeLibrary } from "../lib/engine/native/native_library.ts";
import { canJoinVectors, joinFlag } from "./joined_vectors.ts";

const { ignore } = await needsTensorflow();

for (
  const [setting, kernels, engine] of [
    [
      "off",
      /^Own kernels in machine code: not used: SEARCH_E1_NATIVE is off$/m,
      /^tensorflow works: .+, libtensorflow [\d.]+$/m,
    ],
    [
      "",
      /^Own kernels in machine code: for AVX(2|-512)$/m,
      /^tensorflow works: .+, libtensorflow [\d.]+ and own kernels$/m,
    ],
    [
      "avx2",
      /^Own kernels in machine code: for AVX2$/m,
      /^tensorflow works: .+, libtensorflow [\d.]+ and own kernels$/m,
    ],
  ] as const
) {
  const none = ignore || (setting !== "off" && nativeLibrary() === undefined);
  Deno.test(`deno task doctor with SEARCH_E1_NATIVE="${setting}" says which kernels compute`, {
    ignore: none,
  }, async () => {
    const { stdout } = await new Deno.Command(Deno.execPath(), {
      args: ["task", "doctor"],
      cwd: decodeURIComponent(new URL("../", import.meta.url).pathname),
      env: { NO_COLOR: "1", SEARCH_E1_NATIVE: setting },
      stdin: "null",
      stderr: "null",
    }).output();
    const said = new TextDecoder().decode(stdout);
    assertMatch(said, kernels);
    assertMatch(said, engine);
  });
}

Deno.test("deno task doctor refuses another SEARCH_E1_NATIVE, with what it may be", {
  ignore: nativeLibrary() === undefined,
}, async () => {
  const { code, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["task", "--quiet", "doctor"],
    cwd: decodeURIComponent(new URL("../", import.meta.url).pathname),
    env: { NO_COLOR: "1", SEARCH_E1_NATIVE: "avx512" },
    stdin: "null",
  }).output();
  assertEquals(code, 2);
  assertEquals(
    new TextDecoder().decode(stderr).trim(),
    'error: Cannot use SEARCH_E1_NATIVE="avx512": it may be off, avx2 or empty',
  );
});

Deno.test("deno task doctor lets V8 join vectors, unless V8's flags are set", {
  ignore: !await canJoinVectors(),
}, async () => {
  for (const [set, joined] of [[[], true], [[`DENO_V8_FLAGS=--no-${joinFlag.slice(2)}`], false]] as const) {
    const { stdout } = await new Deno.Command("env", {
      args: ["-u", "DENO_V8_FLAGS", ...set, Deno.execPath(), "task", "--quiet", "doctor"],
      env: { NO_COLOR: "1" },
    }).output();
    assertMatch(
      new TextDecoder().decode(stdout),
      joined ? /wasm .* 256-bit vectors/ : /wasm .* tfjs [\d.]+\n/,
    );
  }
});
