/** SFT: the warm start on demonstrations, some of which carry a privileged block. @module */
import type * as tf from "@tensorflow/tfjs";
import { batchTensors, packForEngine, type Sequence } from "../learn/batch.ts";
import { learningRate } from "../learn/schedule.ts";
import { sftLoss } from "../learn/sft.ts";
import { type Loss, type OptimizerState, Trainer } from "../learn/trainer.ts";
import { modelLogits, tokenLogprobs } from "../model/scoring.ts";
import type { ModelConfig } from "../model/policy.ts";
import { randomStream, shuffled } from "../base/random.ts";
import { finishStep, type Run } from "./run.ts";
import type { Stage } from "./stages.ts";

/** Cross-entropy on the tokens that a demonstration's model wrote; inputs are those of `packedInputs`. */
export function crossEntropyLoss(config: ModelConfig): Loss {
  return ({ weights, adapter }, [tokens_BT, index_BM, targets_BM, mask_BM]) => {
    const batch = { tokens_BT, index_BM, targets_BM, mask_BM } as ReturnType<typeof batchTensors>;
    const logits_BMV = modelLogits(config, weights, adapter, batch);
    const logp_BM = tokenLogprobs(logits_BMV, batch.targets_BM);
    return { loss: sftLoss(logp_BM, batch.mask_BM), metrics: {} };
  };
}

/**
 * The tensors of sequences packed into one batch: tokens, index, targets, mask. Sequences lie end to end where the engine
 * can tell them apart, but for a step that XLA compiles.
 */
export function packedInputs(sequences: readonly Sequence[], padTokenId: number, rows: number, xla = false) {
  const packed = packForEngine(sequences, { padTokenId, rows, padded: xla });
  const { tokens_BT, index_BM, targets_BM, mask_BM } = batchTensors(packed);
  const inputs: tf.Tensor[] = [tokens_BT, index_BM, targets_BM, mask_BM];
  return { packed, inputs };
}

/** Trains through the phases of `config.sft`, from the position in `run.state` on. */
export async function sftStage(run: Run, stage: Stage, optimizer?: OptimizerState): Promise<void> {
  const { config, policy, state } = run;
  const { sft } = config;
  using trainer = new Trainer(run.engine, policy, {
    weightDecay: sft.weight_decay,
    maxGradNorm: sft.max_grad_norm,
    xla: config.engine.xla,
  }, optimizer);
  const total = sft.phases.reduce((sum, phase) => sum + phase.steps, 0);
  const loss = crossEntropyLoss(policy.config);
  let phaseStart = 0;
  for (const [index, phase] of sft.phases.entries()) {
    const phaseEnd = phaseStart + phase.steps;
    if (state.stageStep < phaseEnd) {
      const demonstrations = await run.data.demonstrations(
        policy.tokenizer,
        `${stage.name}/${index}`,
        phase.hinted_share,
      );
      while (state.stageStep < phaseEnd) {
        const started = performance.now();
        const phaseStep = state.stageStep - phaseStart;
        const sequences = drawBatch(
          demonstrations,
          phaseStep,
          sft.batch,
          (epoch) => [config.seed, stage.name, "order", index, epoch],
        );
        const rate = learningRate(phaseStep, {
          lr: phase.learning_rate,
          warmupRatio: sft.warmup_ratio,
          totalSteps: phase.steps,
          schedule: sft.schedule,
        });
        const { inputs } = packedInputs(sequences, policy.tokenizer.padTokenId, sft.batch, trainer.xla);
        const figures = await trainer.accumulate("sft", loss, inputs);
        const gradNorm = await trainer.apply(rate);
        await finishStep(run, stage, total, trainer.optimizer, {
          loss: figures.loss!,
          grad_norm: gradNorm,
          learning_rate: rate,
          num_tokens: sequences.reduce((sum, { tokens }) => sum + tokens.length, 0),
          step_time: (performance.now() - started) / 1000,
        });
      }
    }
    phaseStart = phaseEnd;
  }
}

/**
 * The items of one step: `count` at a time from the items shuffled anew each epoch.
 *
 * @param key The key of the stream of random numbers of an epoch.
 */
export function drawBatch<T>(
  items: readonly T[],
  step: number,
  count: number,
  key: (epoch: number) => readonly (string | number)[],
): T[] {
  const out: T[] = [];
  for (let position = step * count; out.length < count;) {
    const epoch = Math.floor(position / items.length);
    const offset = position % items.length;
    const taken = orderOf(items, key(epoch)).slice(offset, offset + count - out.length);
    out.push(...taken);
    position += taken.length;
  }
  return out;
}

/** The order last asked for of a list: to shuffle thousands takes longer than a small step. */
const orders = new WeakMap<readonly unknown[], { key: string; order: readonly unknown[] }>();

function orderOf<T>(items: readonly T[], key: readonly (string | number)[]): readonly T[] {
  const name = JSON.stringify(key);
  let known = orders.get(items);
  if (known?.key !== name) {
    orders.set(items, known = { key: name, order: shuffled(items, randomStream(...key)) });
  }
  return known.order as readonly T[];
}
