/** No draw depends on the order of a batch, its size, or the number of threads. */
import { assert, assertEquals } from "@std/assert";
import { randomStream, shuffled } from "../lib/base/random.ts";
import { needsTensorflow } from "../lib/engine/tensorflow_for_tests.ts";
import { openEngine } from "../lib/engine/open_engine.ts";
import { onEngines } from "./engines.ts";
import { sampledRollouts, type Tokens } from "./sampled_rollouts.ts";
import { withWarmPolicy } from "./small_world.ts";

const script = decodeURIComponent(new URL("rollout_tokens.ts", import.meta.url).pathname);

/** Share of the tokens that are the same at the same place. */
function agreement(actual: Tokens, expected: Tokens): number {
  assertEquals(Object.keys(actual).sort(), Object.keys(expected).sort());
  let same = 0;
  let all = 0;
  for (const [key, tokens] of Object.entries(expected)) {
    const others = actual[key]!;
    all += Math.max(tokens.length, others.length);
    same += tokens.filter((token, i) => token === others[i]).length;
  }
  return same / all;
}

const temperatures = { greedy: 0, sampled: 1.3 };

Deno.test("roll-outs agree in at least 99.5 % of tokens in another order and in other batches", async (t) => {
  const warmer = await openEngine({ engine: "wasm" });
  await withWarmPolicy(warmer, async ({ folder, warm }) => {
    await onEngines(async (engine) => {
      for (const [name, temperature] of Object.entries(temperatures)) {
        await t.step(`${engine.name}, ${name}`, async () => {
          const roll = (options: object = {}) =>
            sampledRollouts(folder, warm.checkpoint, { temperature, ...options });
          const expected = await roll();
          assertEquals(agreement(await roll(), expected), 1);
          const order = <T>(requests: T[]) => shuffled(requests, randomStream("order"));
          for (const options of [{ order }, { maxBatch: 7 }, { maxBatch: 1 }, { order, maxBatch: 5 }]) {
            const share = agreement(await roll(options), expected);
            assert(share >= 0.995, `${JSON.stringify(options)}: only ${share} of the tokens agree`);
          }
          const different = new Set(Object.values(expected).map((tokens) => tokens.join()));
          const questions = 6;
          if (temperature === 0) assertEquals(different.size, questions);
          else assert(different.size > 2 * questions, "the members of a group are all alike");
        });
      }
    }, ["wasm", "tensorflow"]);
  });
});

Deno.test({
  name: "roll-outs agree in at least 99.5 % of tokens with another number of threads",
  ...await needsTensorflow(),
  async fn() {
    const engine = await openEngine({ engine: "wasm" });
    await withWarmPolicy(engine, async ({ folder, warm }) => {
      for (const temperature of Object.values(temperatures)) {
        const made = await Promise.all([1, 2, 4].map(async (threads) => {
          const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
            args: [
              ...[
                "run",
                "--no-check",
                "--allow-read",
                "--allow-env",
                "--allow-ffi",
                "--allow-sys",
                "--allow-run",
              ],
              ...[script, folder, warm.checkpoint, "tensorflow", String(threads), String(temperature)],
            ],
          }).output();
          assert(success, new TextDecoder().decode(stderr));
          const result = JSON.parse(new TextDecoder().decode(stdout).trim().split("\n").at(-1)!);
          assertEquals(result.threads, threads);
          return result.made as Tokens;
        }));
        for (const other of made.slice(1)) assert(agreement(other, made[0]!) >= 0.995);
      }
    });
  },
});
