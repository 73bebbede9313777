/** Our side of the works that train: one optimiser step each. @module */
import * as tf from "@tensorflow/tfjs";
import { randomStream } from "../../lib/base/random.ts";
import type { Engine } from "../../lib/engine/open_engine.ts";
import { groupAdvantages } from "../../lib/learn/advantage.ts";
import { grpoLossPresets } from "../../lib/learn/grpo.ts";
import { mayLieEndToEnd } from "../../lib/learn/batch.ts";
import { Trainer } from "../../lib/learn/trainer.ts";
import { generate } from "../../lib/model/generate.ts";
import type { Policy } from "../../lib/model/policy.ts";
import { accumulateRows, policyLoss } from "../../lib/run/grpo_stage.ts";
import { crossEntropyLoss, packedInputs } from "../../lib/run/sft_stage.ts";
import type { Prepared, PrepareRequest, RlRow } from "./protocol.ts";

/** One step: forward, cross-entropy at every position, backward, AdamW. */
export function trainWork(engine: Engine, policy: Policy, { data }: PrepareRequest): Prepared {
  const trainer = new Trainer(engine, policy, { weightDecay: 0, maxGradNorm: 0 });
  const loss = crossEntropyLoss(policy.config);
  const sequences = (data.rows as number[][]).map((tokens) => ({
    tokens,
    mask: tokens.map((_, t) => t === 0 ? 0 : 1),
  }));
  return {
    async repeat() {
      const { inputs } = packedInputs(sequences, policy.tokenizer.padTokenId, sequences.length, trainer.xla);
      await trainer.accumulate("sft", loss, inputs);
      await trainer.apply(1e-4);
      return sequences.reduce((sum, { tokens }) => sum + tokens.length, 0);
    },
    dispose: () => disposeAll(trainer, policy),
  };
}

/** Rows of a micro-batch where lengths are mixed and rows are padded: neighbours in length, so that little is. */
const paddedMicroBatch = 4;

/** One step of the GRPO loss on rows of mixed lengths, part of whose tokens the model wrote. */
export function rlWork(engine: Engine, policy: Policy, { data }: PrepareRequest): Prepared {
  const trainer = new Trainer(engine, policy, { weightDecay: 0, maxGradNorm: 1 });
  const loss = policyLoss(policy.config, grpoLossPresets.trl, 1, true);
  const rows = (data.rows as RlRow[]).map((row) => ({
    ...row,
    old: row.tokens.map(() => data.old!),
    ref: undefined,
  }));
  const microBatch = mayLieEndToEnd(rows) === undefined ? paddedMicroBatch : rows.length;
  return {
    async repeat() {
      await accumulateRows(trainer, loss, rows, "dapo", policy, microBatch);
      await trainer.apply(1e-6);
      return rows.reduce((sum, { tokens }) => sum + tokens.length, 0);
    },
    dispose: () => disposeAll(trainer, policy),
  };
}

/** A GRPO step of one turn: generate, reward, one optimiser step. */
export function grpoStepWork(engine: Engine, policy: Policy, { shape, data }: PrepareRequest): Prepared {
  const trainer = new Trainer(engine, policy, { weightDecay: 0, maxGradNorm: 1 });
  const loss = policyLoss(policy.config, grpoLossPresets.trl, 1);
  const group = Number(shape.group);
  const contexts = (data.rows as number[][]).flatMap((row) => Array.from({ length: group }, () => row));
  let step = 0;
  return {
    async repeat() {
      step++;
      const generated = await generate(policy, contexts, {
        maxNewTokens: Number(shape.new),
        temperature: 1,
        stopStrings: [],
        random: (row) => randomStream(1, "bench", step, row),
        maxBatch: contexts.length,
      });
      const members = generated.map(({ tokens }, i) => ({
        questionId: String(Math.floor(i / group)),
        tokens: [...contexts[i]!, ...tokens],
        mask: [...contexts[i]!.map(() => 0), ...tokens.map(() => 1)],
        text: policy.tokenizer.decode(tokens), // TRL decodes too
        reward: tokens.reduce((sum, token) => sum + token % 2, 0) / tokens.length,
      }));
      const { advantages } = groupAdvantages(members, { scaleRewards: "group", epsilon: 1e-4 });
      const rows = members.map((member, i) => ({
        ...member,
        advantage: advantages[i]!,
        old: [...contexts[i]!.map(() => 0), ...generated[i]!.logprobs],
        ref: undefined,
      }));
      await accumulateRows(trainer, loss, rows, "dapo", policy, rows.length);
      await trainer.apply(1e-6);
      return 1;
    },
    dispose: () => disposeAll(trainer, policy),
  };
}

function disposeAll(trainer: Trainer, policy: Policy): void {
  trainer.dispose();
  tf.dispose(policy.weights);
}
