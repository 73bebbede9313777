import { assertEquals, assertRejects } from "@std/assert";
import { exists } from "../base/files.ts";
import { InputError } from "../base/input_error.ts";
import type { Engine } from "../engine/open_engine.ts";
import type { Policy } from "../model/policy.ts";
import { parseConfig } from "./config.ts";
import { rewardsOf } from "./run.ts";
import { runSearchE1 } from "./search_e1.ts";

Deno.test("rewardsOf() joins the config's rewards above zero and the caller's own", () => {
  const config = parseConfig("[reward]\nf1 = 0.5", "run.toml");
  const rewards = [{ name: "brevity", score: () => 1, weight: -0.1 }];
  const given = rewardsOf({ config, policy: {} as Policy, rewards });
  assertEquals(given.map(({ name, weight }) => [name, weight]), [["exact_match", 1], ["f1", 0.5], [
    "brevity",
    -0.1,
  ]]);
});

Deno.test("runSearchE1() leaves no folder behind when its data are malformed", async () => {
  const home = await Deno.makeTempDir();
  await Deno.writeTextFile(`${home}/bad.jsonl`, '{"id": "1"');
  const world = `kind = "files"
    questions = "${home}/q.jsonl"
    validation = "${home}/v.jsonl"
    heldout = { h = "${home}/h.jsonl" }
    corpus = "${home}/bad.jsonl"
    demonstrations = "${home}/d.jsonl"`;
  const config = parseConfig(`[world]\n${world}`, "run.toml");
  const folder = `${home}/run`;
  await assertRejects(
    () => runSearchE1({ config, folder, engine: {} as Engine }),
    InputError,
    "bad.jsonl row 1",
  );
  assertEquals(await exists(folder), false);
  await Deno.remove(home, { recursive: true });
});
