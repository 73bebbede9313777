/** One batch of roll-outs of a checkpoint on the small world, for tests of what may change it. */
import * as tf from "@tensorflow/tfjs";
import { randomStream } from "../lib/base/random.ts";
import { loadPolicy } from "../lib/model/hf_folder.ts";
import { rollout } from "../lib/rollout/rollout.ts";
import { agentOptions } from "../lib/run/run.ts";
import { openRunData } from "../lib/run/run_data.ts";
import { smallConfig } from "./small_world.ts";

/** Tokens by question and member. */
export type Tokens = Record<string, number[]>;

/** Rolls out every training question eight times; `order` permutes the requests. */
export async function sampledRollouts(
  folder: string,
  checkpoint: string,
  { temperature, maxBatch = 64, order = (requests) => requests }: {
    temperature: number;
    maxBatch?: number;
    order?: <T>(requests: T[]) => T[];
  },
): Promise<Tokens> {
  const config = smallConfig(folder);
  const { train } = await openRunData(config);
  const policy = await loadPolicy(checkpoint);
  const members = [...Array(8).keys()];
  const requests = order(train.flatMap((task) => members.map((member) => ({ ...task, member }))));
  const trajectories = await rollout(policy, requests, {
    agent: agentOptions(config),
    temperature,
    random: (question, member) => randomStream(1, "determinism", question.id, member),
    maxBatch,
  });
  tf.dispose(policy.weights);
  return Object.fromEntries(
    trajectories.map(({ questionId, member, tokens }) => [`${questionId} ${member}`, tokens]),
  );
}
