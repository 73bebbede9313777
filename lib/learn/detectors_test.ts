import { assertEquals, assertStringIncludes } from "@std/assert";
import { createDetectors, groupIdCollisions, type MetricsRow } from "./detectors.ts";

const healthy: MetricsRow = {
  stage: "grpo-1",
  frac_reward_zero_std: 0.3,
  entropy: 0.5,
  "env/valid_action_ratio": 0.98,
  "completions/mean_length": 30,
  "sampling/sampling_logp_difference/max": 1e-4,
  "env/group_id_collisions": 0,
  kl: 0.01,
  "env/searches_mean": 2.3,
  "env/empty_search_ratio": 0.02,
  "env/unsupported_ratio": 0.05,
  "rewards/exact_match/mean": 0.9,
};

/** The warnings of five healthy rows, then five bad ones. */
function warningsOf(bad: MetricsRow): string[] {
  const detectors = createDetectors();
  const rows = [...Array(5).fill(healthy), ...Array(5).fill({ ...healthy, ...bad })];
  return rows.flatMap((row) => detectors.observe(row));
}

const failures: [metric: string, bad: MetricsRow][] = [
  ["frac_reward_zero_std", { frac_reward_zero_std: 0.95 }],
  ["entropy", { entropy: 0.001 }],
  ["env/valid_action_ratio", { "env/valid_action_ratio": 0.8 }],
  ["completions/mean_length", { "completions/mean_length": 90 }],
  ["completions/mean_length", { "completions/mean_length": 9 }],
  ["sampling/sampling_logp_difference/max", { "sampling/sampling_logp_difference/max": 0.5 }],
  ["env/group_id_collisions", { "env/group_id_collisions": 2 }],
  ["kl", { kl: -0.1 }],
  ["ofsd/kl", { "ofsd/kl": -0.1 }],
  ["env/empty_search_ratio", { "env/empty_search_ratio": 0.8 }],
  ["env/unsupported_ratio", { "env/unsupported_ratio": 0.3 }],
  ["env/searches_mean", { "env/searches_mean": 1.2, "rewards/exact_match/mean": 0.6 }],
];

for (const [metric, bad] of failures) {
  Deno.test(`createDetectors() warns once and names ${metric} for ${JSON.stringify(bad)}`, () => {
    const warnings = warningsOf(bad);
    assertEquals(warnings.length, 1);
    assertStringIncludes(warnings[0]!, metric);
  });
}

Deno.test("createDetectors() says nothing of a healthy run, of missing metrics, or of fewer searches at the same EM", () => {
  assertEquals(warningsOf({}), []);
  assertEquals(warningsOf({ "env/searches_mean": 1.5 }), []);
  assertEquals(createDetectors().observe({ step: 1, stage: "sft", loss: 3 }), []);
});

Deno.test("createDetectors() does not compare stages with each other", () => {
  const detectors = createDetectors();
  detectors.observe(healthy);
  const other = { ...healthy, stage: "grpo-2", "env/searches_mean": 1.2, "rewards/exact_match/mean": 0.7 };
  assertEquals(detectors.observe(other), []);
});

Deno.test("createDetectors() waits before it calls a collapse", () => {
  const detectors = createDetectors();
  const row = { ...healthy, entropy: 0.001 };
  assertEquals([row, row, row].map((each) => detectors.observe(each).length), [0, 0, 1]);
});

Deno.test("groupIdCollisions() counts ids with different questions, not repeated ones", () => {
  const row = (id: string, question: string) => ({ id, question });
  assertEquals(
    groupIdCollisions([row("a", "x"), row("a", "x"), row("b", "x"), row("b", "y"), row("b", "z")]),
    1,
  );
});
