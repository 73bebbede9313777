/** Our side of `rollout`: whole roll-outs of many turns in an Atlas, by a policy that has learnt the format. @module */
import * as tf from "@tensorflow/tfjs";
import { exists } from "../../lib/base/files.ts";
import { randomStream } from "../../lib/base/random.ts";
import type { Engine } from "../../lib/engine/open_engine.ts";
import { Trainer } from "../../lib/learn/trainer.ts";
import { initWeights } from "../../lib/model/decoder.ts";
import { loadPolicy, savePolicy } from "../../lib/model/hf_folder.ts";
import type { ModelConfig, Policy } from "../../lib/model/policy.ts";
import { loadTokenizer } from "../../lib/model/tokenizer.ts";
import { rollout } from "../../lib/rollout/rollout.ts";
import { modelTokenCount, type Trajectory } from "../../lib/rollout/trajectory.ts";
import { loadConfig } from "../../lib/run/config.ts";
import { agentOptions } from "../../lib/run/run.ts";
import { openRunData, type RunData } from "../../lib/run/run_data.ts";
import { crossEntropyLoss, drawBatch, packedInputs } from "../../lib/run/sft_stage.ts";
import { buildWordTokenizer } from "../../lib/world/world_tokenizer.ts";
import type { Prepared, PrepareRequest } from "./protocol.ts";

const preset = "data/presets/demo.toml";
const sets = ["world.sft_worlds=1", "world.rl_worlds=1", "sft.demonstrations=1600"];
const warmUp = { steps: 80, batch: 32, learningRate: 3e-3 };

/** Rolls the same questions out; every repetition draws the same tokens, so that a peer can be given the same turns. */
export async function rolloutWork(engine: Engine, request: PrepareRequest): Promise<Prepared> {
  const config = await loadConfig(preset, sets);
  const data = await openRunData(config);
  const policy = await warmPolicy(engine, request.config!, data, request.data.folder!);
  const { questions, group } = request.shape;
  const requests = data.train.slice(0, Number(questions)).flatMap((task) =>
    Array.from({ length: Number(group) }, (_, member) => ({ ...task, member }))
  );
  const roll = () =>
    rollout(policy, requests, {
      agent: agentOptions(config),
      temperature: 1,
      random: ({ id }, member) => randomStream(1, "bench", id, member),
      maxBatch: requests.length,
    });
  return {
    repeat: async () => (await roll()).reduce((sum, trajectory) => sum + modelTokenCount(trajectory), 0),
    turns: turnsOf(await roll()),
    dispose: () => tf.dispose(policy.weights),
  };
}

/** The contexts of each turn and how many tokens each row wrote in it. */
function turnsOf(trajectories: readonly Trajectory[]): NonNullable<Prepared["turns"]> {
  const most = Math.max(...trajectories.map(({ turns }) => turns.length));
  return Array.from({ length: most }, (_, turn) => {
    const active = trajectories.filter(({ turns }) => turns.length > turn);
    return {
      contexts: active.map(({ tokens, turns }) => tokens.slice(0, turns[turn]!.span[0])),
      lengths: active.map(({ turns }) => turns[turn]!.span[1] - turns[turn]!.span[0]),
    };
  });
}

/** The policy of `folder`; where there is none yet, one that has seen some demonstrations, which is stored there. */
async function warmPolicy(
  engine: Engine,
  model: ModelConfig,
  data: RunData,
  folder: string,
): Promise<Policy> {
  if (await exists(`${folder}/config.json`)) return await loadPolicy(folder);
  const texts = data.texts();
  const missing = model.vocab_size - loadTokenizer(buildWordTokenizer(texts)).vocabSize;
  const filler = Array.from({ length: missing }, (_, i) => `w${i}`);
  const tokenizer = loadTokenizer(buildWordTokenizer([...texts, ...filler]));
  const policy = { config: model, weights: initWeights(model, 1), tokenizer };
  const sequences = await data.demonstrations(tokenizer, "bench", 0);
  using trainer = new Trainer(engine, policy, { weightDecay: 0, maxGradNorm: 1 });
  const loss = crossEntropyLoss(model);
  for (let step = 0; step < warmUp.steps; step++) {
    const part = drawBatch(sequences, step, warmUp.batch, (epoch) => [1, "bench", epoch]);
    const { inputs } = packedInputs(part, tokenizer.padTokenId, warmUp.batch);
    await trainer.accumulate("sft", loss, inputs);
    await trainer.apply(warmUp.learningRate);
  }
  await savePolicy(folder, policy);
  return policy;
}
