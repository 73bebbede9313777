/** The end-to-end check that masks, alignment, temperatures and scoring agree: without privilege nothing is distilled. */
import { assert, assertEquals } from "@std/assert";
import { openEngine } from "../lib/engine/open_engine.ts";
import { onEngines } from "./engines.ts";
import { runHere, withWarmPolicy } from "./small_world.ts";

const variants = [
  ['ofsd.train="full"'],
  ['ofsd.train="full"', 'ofsd.tokens="queries"', 'ofsd.weighting="position"'],
  ['ofsd.train="full"', 'ofsd.direction="reverse"', 'ofsd.clip="entry"'],
  ['ofsd.train="full"', "ofsd.top_k=4"],
  ['ofsd.train="lora"', "ofsd.lora_rank=2"],
];

Deno.test('ofsd.arm = "no-privilege" at temperature 1: the first KL is 0 eagerly and at most 1e-6 traced', async (t) => {
  await withWarmPolicy(await openEngine({ engine: "wasm" }), async ({ folder, fromWarm }) => {
    await onEngines(async (engine) => {
      // Plain JavaScript is slow, and computes as wasm does.
      for (const [i, sets] of variants.slice(0, engine.name === "cpu" ? 1 : undefined).entries()) {
        await t.step(`${engine.name}: ${sets.join(" ")}`, async () => {
          const config = fromWarm('stages=["ofsd"]', 'ofsd.arm="no-privilege"', "ofsd.questions=4", ...sets);
          const { metrics } = await runHere(engine, config, `${folder}/${engine.name}-${i}`);
          const { loss, "ofsd/kl": kl, grad_norm: gradNorm } = metrics[0]!;
          if (engine.name === "tensorflow") {
            assert(Math.abs(kl as number) <= 1e-6 && Math.abs(loss as number) <= 1e-6, `${kl}, ${loss}`);
          } else {
            assertEquals([kl, loss].map(Math.abs as (x: unknown) => number), [0, 0]);
          }
          assert(gradNorm as number <= 1e-5, `the gradient's norm is ${gradNorm}`);
        });
      }
      if (engine.name === "cpu") return;
      await t.step(`${engine.name}: with privilege, and at another temperature, it is not 0`, async () => {
        for (
          const sets of [['ofsd.arm="ofsd"'], ['ofsd.arm="no-privilege"', "ofsd.teacher_temperature=1.5"]]
        ) {
          const config = fromWarm('stages=["ofsd"]', "ofsd.questions=4", 'ofsd.train="full"', ...sets);
          const { metrics } = await runHere(engine, config, `${folder}/${engine.name}-${sets}`);
          assert(metrics[0]!["ofsd/kl"] as number > 0.01, sets.join(" "));
        }
      });
    });
  });
});
