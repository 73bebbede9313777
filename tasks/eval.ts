/** `deno task eval`: measures a trained policy on the held-out sets. */
import { writeWhole } from "../lib/base/files.ts";
import { evaluate } from "../lib/eval/evaluate.ts";
import type { EvaluationRow } from "../lib/eval/evaluation.ts";
import { evaluationRows, textTable } from "../lib/report/tables.ts";
import { agentOptions } from "../lib/run/run.ts";
import { tasksOf } from "../lib/world/question_set.ts";
import { runTask } from "./command_line.ts";
import { openPolicy, policyFlags } from "./open_policy.ts";

const flags = {
  ...policyFlags,
  json: { kind: "text", value: "FILE", about: "Also write the rows to this file" },
} as const;

await runTask("eval", "Measures a trained policy on its held-out sets.", flags, async (given) => {
  const { config, engine, policy, data, folder } = await openPolicy(given);
  const rows: EvaluationRow[] = [];
  for (const set of data.heldout) {
    for (const decoding of config.evaluate.sampled ? ["greedy", "sampled"] as const : ["greedy"] as const) {
      const { measured } = await evaluate(policy, tasksOf(set), {
        agent: agentOptions(config),
        decoding,
        temperature: config.agent.temperature,
        seed: config.seed,
        maxBatch: config.engine.rollout_batch,
      });
      rows.push({ stage: folder.split("/").at(-1)!, set: set.name, decoding, ...measured });
    }
  }
  console.log(`\n${textTable(evaluationRows(rows))}`);
  if (given.json) await writeWhole(given.json, JSON.stringify({ rows }, null, 2) + "\n");
  engine.close();
  return 0;
});
