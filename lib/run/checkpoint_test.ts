import { assertEquals, assertRejects } from "@std/assert";
import { InputError } from "../base/input_error.ts";
import { checkpointNames, loadCheckpoint, pruneCheckpoints, recoverCheckpoints } from "./checkpoint.ts";

async function runFolder(...entries: string[]): Promise<string> {
  const folder = await Deno.makeTempDir();
  for (const entry of entries) await Deno.mkdir(`${folder}/checkpoints/${entry}`, { recursive: true });
  return folder;
}

async function entriesIn(folder: string): Promise<string[]> {
  return (await Array.fromAsync(Deno.readDir(`${folder}/checkpoints`))).map(({ name }) => name).sort();
}

Deno.test("recoverCheckpoints() puts back what lost its name, and removes what was replaced", async () => {
  const folder = await runFolder("step_000002.former", "step_000004", "step_000004.former");
  await recoverCheckpoints(folder);
  assertEquals(await entriesIn(folder), ["step_000002", "step_000004"]);
  await Deno.remove(folder, { recursive: true });
});

Deno.test("recoverCheckpoints() leaves a folder without checkpoints as it is", async () => {
  const folder = await Deno.makeTempDir();
  await recoverCheckpoints(folder);
  assertEquals(await checkpointNames(folder), []);
  await Deno.remove(folder);
});

Deno.test("pruneCheckpoints() keeps the newest, what is needed, and nothing that was cut off", async () => {
  const folder = await runFolder(
    "step_000001",
    "step_000002",
    "step_000003",
    "step_000010",
    "step_000011.7.tmp",
  );
  await pruneCheckpoints(folder, 2, ["step_000001", "step_000009"]);
  assertEquals(await entriesIn(folder), ["step_000001", "step_000003", "step_000010"]);
  await Deno.remove(folder, { recursive: true });
});

Deno.test("loadCheckpoint() names a state.json that is cut off", async () => {
  const folder = await runFolder("step_000001");
  const checkpoint = `${folder}/checkpoints/step_000001`;
  await Deno.writeTextFile(`${checkpoint}/state.json`, '{"step": 1, "sta');
  const said = `Cannot parse ${checkpoint}/state.json: it is cut off`;
  await assertRejects(() => loadCheckpoint(checkpoint), InputError, said);
  await Deno.remove(folder, { recursive: true });
});
