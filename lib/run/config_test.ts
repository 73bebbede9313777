import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { InputError } from "../base/input_error.ts";
import { type Config, configToToml, loadConfig, parseConfig } from "./config.ts";
import { grpoSettings, ofsdSettings, stagesOf } from "./stages.ts";

const presets = new URL("../../data/presets/", import.meta.url);

/** The message of the InputError that parsing throws. */
function problem(text: string, sets: string[] = []): string {
  return assertThrows(() => parseConfig(text, "run.toml", sets), InputError).message;
}

Deno.test("parseConfig() fills in every default", () => {
  const config = parseConfig("", "run.toml");
  assertEquals(config.stages, ["sft", "grpo", "ofsd", "grpo"]);
  assertEquals(config.grpo.beta, 0.001);
  assertEquals(config.agent.max_turns, 4);
});

Deno.test("parseConfig() applies overrides as TOML, and as text where they are no TOML", () => {
  const config = parseConfig("[grpo]\nsteps = 3", "run.toml", [
    "grpo.steps=[10, 6]",
    "title=a run = b",
    "engine.name=wasm",
    "evaluate.sampled=false",
  ]);
  assertEquals(config.grpo.steps, [10, 6]);
  assertEquals(config.title, "a run = b");
  assertEquals(config.engine.name, "wasm");
  assertEquals(config.evaluate.sampled, false);
});

Deno.test("parseConfig() lets a preset give defaults that the file overrides", () => {
  const config = parseConfig('[grpo]\npreset = "trl"\ngroup_size = 4', "run.toml");
  assertEquals(config.grpo.aggregation, "dapo");
  assertEquals(config.grpo.beta, 0);
  assertEquals(config.grpo.group_size, 4);
});

Deno.test("parseConfig() names the nearest key", () => {
  assertEquals(
    problem("[grpo]\nlearning_rat = 1"),
    "Cannot use run.toml: unknown key grpo.learning_rat; did you mean grpo.learning_rate?",
  );
  assertEquals(problem("tau = 1"), "Cannot use run.toml: unknown key tau; did you mean ofsd.tau?");
});

Deno.test("parseConfig() names file or flag, key, value and what is allowed", () => {
  assertEquals(
    problem("[grpo]\ngroup_size = 1"),
    "Cannot use run.toml: grpo.group_size = 1 is not allowed; give an integer of at least 2",
  );
  assertEquals(
    problem("", ["reward.f1=-1"]),
    "Cannot use --set reward.f1: reward.f1 = -1 is not allowed; give a number of at least 0",
  );
});

Deno.test("configToToml() reads back to the same settings", () => {
  for (
    const sets of [[], ["grpo.preset=trl", 'title=quotes " and \\ and ü'], [
      "sft.phases=[{steps=1,learning_rate=1}]",
    ]]
  ) {
    const config = parseConfig("", "run.toml", sets);
    assertEquals(parseConfig(configToToml(config), "again"), config);
  }
});

Deno.test("loadConfig() loads every preset, and each opens with what it shows and the command", async () => {
  for await (const { name } of Deno.readDir(presets)) {
    const path = decodeURIComponent(new URL(name, presets).pathname);
    const config = await loadConfig(path);
    assertEquals(parseConfig(configToToml(config), name), config);
    const opening = (await Deno.readTextFile(path)).split("\n\n")[0]!;
    assert(
      opening.startsWith("# ") && opening.includes("deno task "),
      `${name} does not open with its command`,
    );
  }
});

Deno.test("loadConfig() names a missing file", async () => {
  const error = await assertRejects(() => loadConfig("data/presets/no.toml"), InputError);
  assert(error.message.startsWith("Cannot read the config data/presets/no.toml: there is no such file"));
});

Deno.test("stagesOf() numbers all but a first sft", () => {
  const names = (stages: Config["stages"]) => stagesOf({ stages }).map(({ name }) => name);
  assertEquals(names(["sft", "grpo", "ofsd", "grpo", "ofsd", "sft"]), [
    "sft",
    "grpo-1",
    "ofsd-1",
    "grpo-2",
    "ofsd-2",
    "sft-2",
  ]);
});

Deno.test("grpoSettings() takes a list's item for its occurrence, and the last one from there on", () => {
  const config = parseConfig("[grpo]\nsteps = [10, 6]\n[ofsd]\nquestions = [3]", "run.toml");
  assertEquals([0, 1, 2].map((occurrence) => grpoSettings(config, occurrence).steps), [10, 6, 6]);
  assertEquals(grpoSettings(config, 1).questions_per_step, 24);
  assertEquals(ofsdSettings(config, 2).questions, 3);
});
