/** Native memory is invisible to JavaScript's garbage collector: no step of any kind may leave a tensor behind. */
import { assert, assertEquals } from "@std/assert";
import * as tf from "@tensorflow/tfjs";
import { assertNoLeak } from "../lib/engine/leaks.ts";
import { evaluate } from "../lib/eval/evaluate.ts";
import { loadPolicy } from "../lib/model/hf_folder.ts";
import { loadCheckpoint, saveCheckpoint } from "../lib/run/checkpoint.ts";
import { agentOptions } from "../lib/run/run.ts";
import { openRunData } from "../lib/run/run_data.ts";
import { tasksOf } from "../lib/world/question_set.ts";
import { onEngines } from "./engines.ts";
import { runHere, withWarmPolicy } from "./small_world.ts";

const variants = [
  ['ofsd.train="full"'],
  ['ofsd.train="lora"', "ofsd.lora_rank=2"],
  ['ofsd.train="lora"', "ofsd.lora_rank=2", "ofsd.merge=false"],
  ['ofsd.arm="rejection-sft"', "grpo.beta=0", "grpo.dynamic_sampling=true"],
];

Deno.test("no step of SFT, GRPO or OFSD leaves a tensor behind, nor does a whole run", async (t) => {
  await onEngines(async (engine) => {
    await withWarmPolicy(engine, async ({ folder, fromWarm }) => {
      for (const [i, sets] of variants.entries()) {
        await t.step(`${engine.name}: ${sets.join(" ")}`, async () => {
          const config = fromWarm(
            'stages=["sft", "grpo", "ofsd", "grpo"]',
            "sft.phases=[{steps=4,learning_rate=1e-3}]",
            "grpo.steps=4",
            "ofsd.epochs=2",
            "checkpoint.every_steps=2",
            ...sets,
          );
          const counts = new Map<string, number[]>();
          await assertNoLeak(async () => {
            const { finished } = await runHere(engine, config, `${folder}/${i}`, {
              onProgress: (event) => {
                if (event.kind !== "step" || !/^(sft|grpo-\d|ofsd-\d)$/.test(event.stage)) return;
                counts.set(event.stage, [...counts.get(event.stage) ?? [], tf.memory().numTensors]);
              },
            });
            assert(finished);
          });
          assertEquals([...counts.keys()], ["sft", "grpo-1", "ofsd-1", "grpo-2"]);
          for (const [stage, after] of counts) {
            assert(after.length >= 4, `${stage} made ${after.length} steps`);
            assertEquals(after, after.map(() => after[0]!), stage);
          }
        });
      }

      await t.step(`${engine.name}: a run that is stopped`, async () => {
        const config = fromWarm('stages=["grpo", "ofsd"]', 'ofsd.train="lora"', "ofsd.lora_rank=2");
        for (const [stage, step] of [["grpo-1", 1], ["ofsd-1", 2]] as const) {
          await assertNoLeak(async () => {
            const stopAfter = { stage, step };
            const { finished } = await runHere(engine, config, `${folder}/stopped-${stage}`, { stopAfter });
            assert(!finished);
          });
        }
      });

      await t.step(`${engine.name}: roll-outs, evaluation, checkpoints`, async () => {
        const config = fromWarm();
        const { validation } = await openRunData(config);
        const { state } = await loadCheckpoint(config.model.path).then((checkpoint) => {
          tf.dispose(checkpoint.policy.weights);
          return checkpoint;
        });
        const policy = await loadPolicy(config.model.path);
        for (const decoding of ["greedy", "sampled"] as const) {
          await assertNoLeak(async () => {
            const { measured } = await evaluate(policy, tasksOf(validation), {
              agent: agentOptions(config),
              decoding,
              seed: 1,
              maxBatch: 4,
            });
            assertEquals(measured.n, validation.questions.length);
          });
        }
        const moments = () =>
          Object.fromEntries(Object.entries(policy.weights).map(([name, w]) => [name, tf.onesLike(w)]));
        const optimizer = { step: 3, m: moments(), v: moments() };
        await assertNoLeak(() => saveCheckpoint(folder, "step_000009", { policy, optimizer, state }));
        await assertNoLeak(async () => {
          const loaded = await loadCheckpoint(`${folder}/checkpoints/step_000009`);
          assertEquals(loaded.optimizer!.step, 3);
          assertEquals(Object.keys(loaded.optimizer!.m).sort(), Object.keys(policy.weights).sort());
          tf.dispose([loaded.policy.weights, loaded.optimizer!.m, loaded.optimizer!.v]);
        });
        tf.dispose([policy.weights, optimizer.m, optimizer.v]);
      });
    });
  }, ["wasm", "tensorflow"]);
});
