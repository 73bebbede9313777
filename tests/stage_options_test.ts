/** Every option of the method through the real stages: finite losses, and the effect that tells the option from its absence. */
import { assert, assertAlmostEquals, assertEquals, assertNotEquals } from "@std/assert";
import { openEngine } from "../lib/engine/open_engine.ts";
import type { Trajectory } from "../lib/rollout/trajectory.ts";
import { runPaths } from "../lib/run/run_folder.ts";
import { type Ran, runHere, withWarmPolicy } from "./small_world.ts";

const stages = (...names: string[]) => `stages=${JSON.stringify(names)}`;

/** Losses, gradient norms and what else a step says must be numbers; gradients must be there. */
function assertTrained({ metrics, finished }: Ran, stage: string): void {
  assert(finished);
  const rows = metrics.filter((row) => row.stage === stage);
  assert(rows.length > 0, `${stage} made no step`);
  for (const row of rows) {
    for (const [name, value] of Object.entries(row)) {
      assert(typeof value === "string" || Number.isFinite(value), `${stage}: ${name} = ${value}`);
    }
    assert(row.grad_norm as number > 0, `${stage}: no gradient`);
  }
}

async function readRollouts(path: string): Promise<Trajectory[]> {
  return (await Deno.readTextFile(path)).trim().split("\n").map((line) => JSON.parse(line));
}

/** GRPO settings, each run for two steps; no two may compute the same. */
const grpoOptions: string[][] = [
  [],
  ['grpo.preset="trl"'],
  ['grpo.aggregation="grpo"'],
  ['grpo.aggregation="dr_grpo"'],
  ['grpo.aggregation="dapo"', "grpo.mini_batches=1"],
  ['grpo.aggregation="bnpo"', "grpo.mini_batches=1", "engine.micro_batch=3"],
  ['grpo.loss="cispo"', "grpo.epsilon_high=5"],
  ...[
    [],
    ['grpo.importance="sequence"'],
    ["grpo.epsilon_low=0.01"],
    ["grpo.epsilon_high=0.01"],
    ["grpo.delta=1.21"],
  ].map((sets) => ["grpo.num_iterations=3", "grpo.learning_rate=0.01", ...sets]),
  ['grpo.scale_rewards="batch"'],
  ['grpo.scale_rewards="none"'],
  ["grpo.beta=0"],
  ["grpo.entropy_coefficient=0"],
  ["grpo.entropy_coefficient=0.1"],
  ["agent.max_turns=1", "grpo.mask_truncated=true"],
  ["agent.max_turns=1", "grpo.mask_truncated=false"],
  ["grpo.dynamic_sampling=true", "grpo.mini_batches=16", "rehearsal.per_step=0"],
  ['grpo.schedule="cosine"', "grpo.warmup_ratio=0.3"],
  ["grpo.weight_decay=0.1", "grpo.max_grad_norm=0"],
  ["rehearsal.per_step=0"],
  ["rehearsal.coefficient=0.5"],
  ["reward.f1=0.5", "reward.substring=0.5", "reward.format=1"],
];

/** OFSD settings, each run for an epoch; no two may compute the same. */
const ofsdOptions: string[][] = [
  [],
  ['ofsd.arm="shuffled-sibling"'],
  ['ofsd.arm="rejection-sft"'],
  ['ofsd.block="full"'],
  ['ofsd.block="no-answer"'],
  ['ofsd.direction="reverse"'],
  ['ofsd.direction="jsd"'],
  ['ofsd.direction="jsd"', "ofsd.jsd_beta=0.1"],
  ['ofsd.clip="off"'],
  ['ofsd.clip="entry"', "ofsd.tau=0.5"],
  ['ofsd.clip="token"', "ofsd.tau=0.5"],
  ["ofsd.top_k=4"],
  ["ofsd.top_k=4", 'ofsd.direction="reverse"'],
  ["ofsd.top_k=4", 'ofsd.direction="jsd"'],
  ['ofsd.tokens="queries"'],
  ['ofsd.weighting="position"'],
  ['ofsd.weighting="teacher-entropy"'],
  ['ofsd.weighting="gap"'],
  ['ofsd.weighting="return-gap"'],
  ["ofsd.teacher_temperature=2"],
  ['ofsd.train="lora"', "ofsd.lora_rank=2"],
  ['ofsd.train="lora"', "ofsd.lora_rank=2", "ofsd.merge=false"],
  ["ofsd.pairs_per_question=1"],
  ["ofsd.same_searches_more_tokens=true", "ofsd.pairs_per_question=5"],
  ["ofsd.weight_decay=0.1", 'ofsd.schedule="linear"'],
];

Deno.test("every option runs through the stages and changes what they compute", async (t) => {
  const engine = await openEngine({ engine: "wasm" });
  await withWarmPolicy(engine, async ({ folder, warm, fromWarm }) => {
    let runs = 0;
    const run = async (...sets: string[]) => {
      const runFolder = `${folder}/run-${runs++}`;
      return { runFolder, ...await runHere(engine, fromWarm(...sets), runFolder) };
    };
    const weights = async (ran: Ran) => (await Deno.readFile(`${ran.checkpoint}/model.safetensors`)).join();
    const heldout = ({ evaluation }: Ran) => evaluation.rows.at(-1)!;
    assert(
      heldout(warm).em >= 0.8,
      "the small world was not learnt, so that nothing below can be told apart",
    );

    for (
      const [stage, table, common] of [
        ["grpo", grpoOptions, []],
        ["ofsd", ofsdOptions, ['ofsd.train="full"', "ofsd.tau=2"]],
      ] as const
    ) {
      const seen = new Map<string, string>();
      for (const sets of table) {
        const name = `${stage}: ${sets.join(" ") || "defaults"}`;
        await t.step(name, async () => {
          const ran = await run(stages(stage), ...common, ...sets);
          assertTrained(ran, `${stage}-1`);
          const bits = await weights(ran) + ran.metrics.map(({ loss }) => loss).join();
          assertEquals(seen.get(bits), undefined);
          seen.set(bits, name);
        });
      }
    }

    await t.step("dynamic sampling draws others in place of groups of equal rewards", async () => {
      const sets = ["agent.temperature=0.6", "grpo.questions_per_step=3", "grpo.steps=1"];
      const plain = await run(stages("grpo"), ...sets);
      const dynamic = await run(stages("grpo"), ...sets, "grpo.dynamic_sampling=true");
      const count = async (ran: { runFolder: string }) =>
        (await readRollouts(runPaths(ran.runFolder).rollouts(1))).length;
      assertEquals(await count(plain), 3 * 4);
      const drawn = await count(dynamic);
      assert(plain.metrics[0]!.frac_reward_zero_std as number > 0, "no group had equal rewards");
      assert(drawn > 3 * 4 && drawn % 4 === 0, `${drawn} roll-outs`);
    });

    await t.step("compute_budget ends a stage and begins none", async () => {
      const ran = await run(stages("grpo", "grpo"), "grpo.compute_budget=1", "grpo.steps=5");
      assertEquals(ran.metrics.map(({ stage }) => stage), ["grpo-1"]);
      assertEquals(ran.evaluation.rows.map(({ stage }) => stage), ["grpo-1", "grpo-2"]);
    });

    await t.step("OFSD in LoRA leaves the weights as they were and merges on request only", async () => {
      const lora = [stages("ofsd"), 'ofsd.train="lora"', "ofsd.lora_rank=2"];
      const apart = await run(...lora, "ofsd.merge=false");
      assertEquals(await weights(apart), await weights(warm));
      assert((await Deno.stat(`${apart.checkpoint}/adapter/adapter_model.safetensors`)).isFile);
      const merged = await run(...lora, "ofsd.merge=true");
      assertNotEquals(await weights(merged), await weights(warm));
      assertEquals(merged.metrics.map(({ loss }) => loss), apart.metrics.map(({ loss }) => loss));
      const { em, searches } = heldout(apart);
      assertEquals([heldout(merged).em, heldout(merged).searches], [em, searches]);
    });

    await t.step("gate: an OFSD stage that costs EM is rolled back to the bits before it", async () => {
      const ran = await run(stages("grpo", "ofsd"), "ofsd.learning_rate=1", "ofsd.gate_margin=0.1");
      assertEquals(ran.evaluation.rolled_back, ["ofsd-1"]);
      assert(ran.notes.some((note) => note.includes("the stage is rolled back")));
      const [grpo, ofsd] = ran.evaluation.rows;
      assertEquals({ ...ofsd, stage: "" }, { ...grpo, stage: "" });
      const best = JSON.parse(await Deno.readTextFile(runPaths(ran.runFolder).best));
      assertEquals(best.stage, "grpo-1");
      const before = `${ran.runFolder}/checkpoints/${best.checkpoint}`;
      assertNotEquals(before, ran.checkpoint);
      assertEquals(await weights(ran), await weights({ ...ran, checkpoint: before }));
      const kept = await run(stages("grpo", "ofsd"), "ofsd.learning_rate=1", "ofsd.gate_margin=1");
      assertEquals(kept.evaluation.rolled_back, []);
      assertNotEquals(await weights(kept), await weights(ran));
      const after = kept.evaluation.rows[1]!;
      assert(after.em < grpo!.em - 0.1, "the stage cost nothing, so that the gate was not tried");
    });

    await t.step("a teacher that answers worse than the plain policy is not distilled", async () => {
      // This policy has never seen a hint, and is confused by one.
      const ran = await run(stages("ofsd"), "ofsd.teacher_margin=0.05");
      const [teacher] = ran.evaluation.teacher;
      assert(teacher!.em < teacher!.plain_em - 0.05, JSON.stringify(teacher));
      assertEquals(teacher!.distilled, false);
      assertEquals(ran.metrics.filter(({ stage }) => stage === "ofsd-1"), []);
      assertEquals(await weights(ran), await weights(warm));
      assert(ran.notes.some((note) => note.includes("nothing is distilled")));
    });

    await t.step("the sampler's and the trainer's log-probs agree", async () => {
      const { metrics } = await run(stages("grpo"), "agent.temperature=0.7", "engine.rollout_batch=3");
      for (const row of metrics) {
        assertAlmostEquals(row["sampling/sampling_logp_difference/max"] as number, 0, 1e-4);
      }
    });
  });
  engine.close();
});
