import { assertEquals, assertRejects } from "@std/assert";
import { InputError } from "../base/input_error.ts";
import { readRollouts, stageCheckpoint } from "./recorded.ts";

Deno.test("stageCheckpoint() finds the state that ends a stage, not one within the next", async () => {
  const folder = await Deno.makeTempDir();
  await Deno.writeTextFile(`${folder}/config.toml`, 'stages = ["sft", "grpo", "ofsd"]');
  const states = { step_000010: [1, 0], step_000012: [1, 2], step_000014: [2, 0], step_000019: [2, 5] };
  for (const [name, [stageIndex, stageStep]] of Object.entries(states)) {
    await Deno.mkdir(`${folder}/checkpoints/${name}`, { recursive: true });
    await Deno.writeTextFile(
      `${folder}/checkpoints/${name}/state.json`,
      JSON.stringify({ stageIndex, stageStep }),
    );
  }
  assertEquals(await stageCheckpoint(folder, "sft"), `${folder}/checkpoints/step_000010`);
  assertEquals(await stageCheckpoint(folder, "grpo-1"), `${folder}/checkpoints/step_000014`);
  await assertRejects(() => stageCheckpoint(folder, "ofsd-1"), InputError, "is gone");
  await assertRejects(
    () => stageCheckpoint(folder, "grpo-2"),
    InputError,
    "its stages are sft, grpo-1, ofsd-1",
  );
  await Deno.remove(folder, { recursive: true });
});

Deno.test("readRollouts() names the row that is no JSON", async () => {
  const path = await Deno.makeTempFile();
  await Deno.writeTextFile(path, '{"questionId":"q"}\nhello\n');
  await assertRejects(() => readRollouts(path), InputError, "row 2");
  await Deno.remove(path);
});
