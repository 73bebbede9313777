/** `deno task rollout`: shows what a trained policy does, question by question. */
import { randomStream } from "../lib/base/random.ts";
import { InputError, nearestName } from "../lib/base/input_error.ts";
import { exactMatch } from "../lib/world/answer_metrics.ts";
import { transcriptText } from "../lib/report/transcript.ts";
import { rollout } from "../lib/rollout/rollout.ts";
import { agentOptions } from "../lib/run/run.ts";
import type { Question } from "../lib/world/question.ts";
import { runTask } from "./command_line.ts";
import { openPolicy, policyFlags } from "./open_policy.ts";

const flags = {
  ...policyFlags,
  question: { kind: "text", value: "TEXT", about: "A question of your own, in place of those of the set" },
  of: { kind: "text", value: "SET", about: "The held-out set, by name; the last one" },
  number: { kind: "text", value: "N", about: "How many questions of the set; 3" },
  sampled: { kind: "switch", about: "Sample at the agent's temperature instead of decoding greedily" },
} as const;

await runTask("rollout", "Shows trajectories of a trained policy.", flags, async (given) => {
  const number = Number(given.number ?? 3);
  if (!Number.isInteger(number) || number < 1) {
    throw new InputError(`Cannot use --number ${given.number}: give an integer of at least 1`);
  }
  const { config, engine, policy, data } = await openPolicy(given);
  const names = data.heldout.map(({ name }) => name);
  const set = given.of === undefined
    ? data.heldout.at(-1)!
    : data.heldout.find(({ name }) => name === given.of);
  if (!set) {
    const near = nearestName(given.of!, names);
    throw new InputError(
      `Cannot use --of ${given.of}: ${near ? `did you mean ${near}?` : `the sets are ${names.join(", ")}`}`,
    );
  }
  const questions: Question[] = given.question
    ? [{ id: "own/question/0", question: given.question, answers: [] }]
    : set.questions.slice(0, number);
  const { tokenizer } = policy;
  if (given.question && tokenizer.decode(tokenizer.encode(given.question)) !== given.question) {
    console.log("Note: the policy's vocabulary lacks some words of the question");
  }
  const trajectories = await rollout(
    policy,
    questions.map((question) => ({ question, retriever: set.retriever, member: 0 })),
    {
      agent: agentOptions(config),
      temperature: given.sampled ? config.agent.temperature : 0,
      random: (question) => randomStream(config.seed, "show", question.id),
    },
  );
  const colour = Deno.stdout.isTerminal() && !Deno.noColor;
  trajectories.forEach((trajectory, i) => {
    const { answers } = questions[i]!;
    if (answers.length > 0) {
      trajectory.correct = trajectory.answer !== null && exactMatch(trajectory.answer, answers);
      trajectory.rewards = { exact_match: Number(trajectory.correct) };
    }
    console.log(`\n${transcriptText(trajectory, tokenizer, { colour })}`);
    if (answers.length > 0) console.log(`= gold: ${answers.join(" | ")}`);
  });
  engine.close();
  return 0;
});
