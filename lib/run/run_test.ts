import { assertEquals } from "@std/assert";
import type { Policy } from "../model/policy.ts";
import { parseConfig } from "./config.ts";
import { rewardsOf } from "./run.ts";

Deno.test("rewardsOf() joins the config's rewards above zero and the caller's own", () => {
  const config = parseConfig("[reward]\nf1 = 0.5", "run.toml");
  const rewards = [{ name: "brevity", score: () => 1, weight: -0.1 }];
  const given = rewardsOf({ config, policy: {} as Policy, rewards });
  assertEquals(given.map(({ name, weight }) => [name, weight]), [["exact_match", 1], ["f1", 0.5], [
    "brevity",
    -0.1,
  ]]);
});
