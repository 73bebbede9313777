/** A run that is stopped in the middle of any stage and resumed ends in the bits of one that was not. */
import { assert, assertEquals } from "@std/assert";
import { onEngines } from "./engines.ts";
import { assertSameRun } from "./same_run.ts";
import { runHere, smallConfig, withWarmPolicy } from "./small_world.ts";

/** The stages as a config names them, what else is set, and after which step the run is stopped each time. */
const cases: { stages: string; sets: string[]; stops: [stage: string, step: number][] }[] = [
  {
    stages: '["sft", "grpo"]',
    sets: [
      "sft.phases=[{steps=6,learning_rate=1e-2},{steps=6,learning_rate=5e-3}]",
      'sft.schedule="cosine"',
      "grpo.steps=3",
      "grpo.num_iterations=2",
      "grpo.dynamic_sampling=true",
    ],
    stops: [["sft", 3], ["sft", 6], ["sft", 10], ["grpo-1", 1]],
  },
  {
    stages: '["grpo", "ofsd", "grpo"]',
    sets: ['ofsd.train="full"', "checkpoint.every_steps=2", 'ofsd.weighting="return-gap"'],
    stops: [["ofsd-1", 1], ["ofsd-1", 4]],
  },
  ...[true, false].map((merge) => ({
    stages: '["grpo", "ofsd", "grpo", "ofsd"]',
    sets: ['ofsd.train="lora"', "ofsd.lora_rank=2", `ofsd.merge=${merge}`],
    stops: [["ofsd-1", 2], ["ofsd-1", 5], ["grpo-2", 1], ["ofsd-2", 3]] as [string, number][],
  })),
];

Deno.test("runSearchE1() stopped and resumed equals the uninterrupted run bit for bit", async (t) => {
  await onEngines(async (engine) => {
    await withWarmPolicy(engine, async ({ folder, fromWarm }) => {
      for (const [i, { stages, sets, stops }] of cases.entries()) {
        await t.step(`${engine.name}: ${stages} ${sets.join(" ")}`, async () => {
          const all = [
            `stages=${stages}`,
            "grpo.reset_reference=false",
            "grpo.beta=0.04",
            "ofsd.epochs=2",
            ...sets,
          ];
          const config = stages.includes("sft") ? smallConfig(folder, all) : fromWarm(...all);
          const [whole, parts] = [`${folder}/whole-${i}`, `${folder}/parts-${i}`];
          assert((await runHere(engine, config, whole)).finished);
          for (const [n, [stage, step]] of stops.entries()) {
            const { finished, metrics } = await runHere(engine, config, parts, {
              stopAfter: { stage, step },
              resume: n > 0,
            });
            assertEquals(finished, false, `${stage} never came to step ${step}`);
            assertEquals([metrics.at(-1)!.stage, metrics.filter((row) => row.stage === stage).length], [
              stage,
              step,
            ]);
          }
          assert((await runHere(engine, config, parts, { resume: true })).finished);
          await assertSameRun(parts, whole);
        });
      }
    });
  }, ["wasm", "tensorflow"]);
});
