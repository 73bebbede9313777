/** Kernels for AVX-512 and for AVX2 sum in the same order: a run does not depend on which of them computes. */
import { assertEquals, assertMatch } from "@std/assert";
import { nativeKernels } from "../lib/engine/native/native_library.ts";
import { needsTensorflow } from "../lib/engine/tensorflow_for_tests.ts";
import { assertSameRun } from "./same_run.ts";

const { ignore } = await needsTensorflow();

Deno.test("deno task train gives the same run by kernels for AVX2 as for AVX-512", {
  ignore: ignore || nativeKernels().vectors !== "AVX-512",
}, async () => {
  const parent = await Deno.makeTempDir();
  for (const setting of ["", "avx2"]) {
    const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: [
        ...["task", "train", "--engine", "tensorflow", "--config", "data/presets/smoke.toml"],
        ...["--out", `${parent}/${setting || "widest"}`],
      ],
      cwd: decodeURIComponent(new URL("../", import.meta.url).pathname),
      env: { NO_COLOR: "1", SEARCH_E1_NATIVE: setting },
      stdin: "null",
    }).output();
    assertEquals(success, true, new TextDecoder().decode(stderr));
    assertMatch(new TextDecoder().decode(stdout), /own kernels/);
  }
  await assertSameRun(`${parent}/avx2`, `${parent}/widest`);
  await Deno.remove(parent, { recursive: true });
});
