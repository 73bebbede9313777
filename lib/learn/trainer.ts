/**
 * The trainer knows nothing of any algorithm: it sums the gradients of weighted losses and applies AdamW. A loss is a pure
 * function of weights, adapter and input tensors, so that the engine may compile it into one call.
 *
 * @module
 */
import * as tf from "@tensorflow/tfjs";
import type { CompiledStep, Engine } from "../engine/open_engine.ts";
import type { Adapter, Policy, Weights } from "../model/policy.ts";
import { adamwFigures, adamwParameter, globalNorm } from "./adamw.ts";

/** A loss and the figures that go with it: scalars, float32. */
export type Loss = (
  policy: { weights: Weights; adapter: Adapter | undefined },
  inputs: tf.Tensor[],
) => { loss: tf.Scalar; metrics: Record<string, tf.Scalar> };

/** AdamW's settings. */
export interface TrainerOptions {
  weightDecay: number;
  /** Global gradient norm above which gradients are scaled down; 0 is no limit. */
  maxGradNorm: number;
  /** Compile with XLA. */
  xla?: boolean;
}

/** AdamW's state: first and second moments by parameter name, float32, and the number of steps taken. */
export interface OptimizerState {
  step: number;
  m: Weights;
  v: Weights;
}

/**
 * Trains a policy's adapter where it has one, otherwise all of its weights.
 *
 * @example
 * ```ts
 * import { batchTensors, buildWordTokenizer, initWeights, loadTokenizer, type Loss, modelLogits, openEngine, packBatch, sftLoss, tokenLogprobs, Trainer } from "@search-e1/kit";
 * import { assertLess } from "@std/assert";
 * import * as tf from "@tensorflow/tfjs";
 *
 * const tokenizer = loadTokenizer(buildWordTokenizer(["Osaka lies in Japan."]));
 * const config = {
 *   model_type: "llama", vocab_size: tokenizer.vocabSize, hidden_size: 8, intermediate_size: 16, num_hidden_layers: 1,
 *   num_attention_heads: 2, num_key_value_heads: 1, rope_theta: 10000, rms_norm_eps: 1e-6,
 *   tie_word_embeddings: true, max_position_embeddings: 32,
 * } as const;
 * const policy = { config, weights: initWeights(config, 1), tokenizer };
 * const loss: Loss = ({ weights, adapter }, inputs) => {
 *   const [tokens_BT, index_BM, targets_BM, mask_BM] = inputs as [tf.Tensor2D, tf.Tensor2D, tf.Tensor2D, tf.Tensor2D];
 *   const logits_BMV = modelLogits(config, weights, adapter, { tokens_BT, index_BM });
 *   return { loss: sftLoss(tokenLogprobs(logits_BMV, targets_BM), mask_BM), metrics: {} };
 * };
 * const sequence = { tokens: tokenizer.encode("Osaka lies in Japan"), mask: [0, 1, 1, 1] };
 *
 * const engine = await openEngine({ engine: "cpu" });
 * const trainer = new Trainer(engine, policy, { weightDecay: 0, maxGradNorm: 1 });
 * const losses: number[] = [];
 * for (let step = 0; step < 3; step++) {
 *   const { tokens_BT, index_BM, targets_BM, mask_BM } = batchTensors(packBatch([sequence], { padTokenId: 0 }));
 *   const figures = await trainer.accumulate("sft", loss, [tokens_BT, index_BM, targets_BM, mask_BM]);
 *   losses.push(figures.loss!);
 *   await trainer.apply(0.01);
 * }
 * assertLess(losses[2]!, losses[0]!);
 * trainer.dispose();
 * tf.dispose(policy.weights);
 * engine.close();
 * ```
 */
export class Trainer {
  readonly #engine: Engine;
  readonly #policy: Policy;
  readonly #options: TrainerOptions;
  readonly #names: string[];
  /** Parameters that are updated at once, by their numbers among the names; the largest last. */
  readonly #groups: number[][];
  readonly #optimizer: OptimizerState;
  readonly #losses = new Map<string, { step: CompiledStep; metricNames: string[] }>();
  readonly #figures: CompiledStep;
  /** AdamW for so many parameters at once, and sums of two gradients of each. */
  readonly #updates = new Map<number, CompiledStep>();
  readonly #sums = new Map<number, CompiledStep>();
  #gradients: tf.Tensor[] | undefined;

  /**
   * @param policy What is trained; its tensors are replaced by every `apply`.
   * @param optimizer The state to go on from; it then belongs to the trainer. A fresh one when left out.
   */
  constructor(engine: Engine, policy: Policy, options: TrainerOptions, optimizer?: OptimizerState) {
    this.#engine = engine;
    this.#policy = policy;
    this.#options = options;
    this.#names = Object.keys(this.#trained);
    this.#groups = groupsBySize(this.#names.map((name) => this.#trained[name]!.size));
    const zeros = () =>
      Object.fromEntries(this.#names.map((name) => [name, tf.zerosLike(this.#trained[name]!)]));
    this.#optimizer = optimizer ?? { step: 0, m: zeros(), v: zeros() };
    const update = (...[figures_7, ...tensors]: tf.Tensor[]) =>
      Array.from({ length: tensors.length / 4 }, (_, i) => {
        const [parameter, gradient, m, v] = tensors.slice(4 * i, 4 * i + 4);
        return tf.tidy(() => adamwParameter([parameter!, gradient!, m!, v!, figures_7!], options));
      }).flat();
    this.#figures = engine.compile("adamw figures", (learningRate, step, ...gradients) => {
      const norm = globalNorm(gradients);
      const scalars = { learningRate: learningRate as tf.Scalar, step: step as tf.Scalar };
      return [adamwFigures(norm, scalars, options), norm];
    });
    const sum = (...tensors: tf.Tensor[]) => {
      const count = tensors.length / 2;
      return tensors.slice(0, count).map((gradient, i) => tf.add(gradient, tensors[count + i]!));
    };
    for (const length of new Set(this.#groups.map(({ length }) => length))) {
      this.#updates.set(length, engine.compile(`adamw of ${length}`, update));
      this.#sums.set(length, engine.compile(`sums of ${length}`, sum));
    }
  }

  get #trained(): Weights {
    return this.#policy.adapter?.weights ?? this.#policy.weights;
  }

  /** Whether XLA compiles its losses, which then may hold no kernel of the kit's own. */
  get xla(): boolean {
    return this.#options.xla ?? false;
  }

  /** AdamW's state, for a checkpoint; it stays the trainer's. */
  get optimizer(): OptimizerState {
    return this.#optimizer;
  }

  /**
   * Adds `weight` times the gradient of a loss to what the next `apply` takes, and returns the loss and its metrics.
   *
   * @param name Names the loss: the same name must always come with the same function.
   * @param inputs The loss's inputs; they are disposed here.
   */
  async accumulate(
    name: string,
    loss: Loss,
    inputs: tf.Tensor[],
    weight = 1,
  ): Promise<Record<string, number>> {
    let compiled = this.#losses.get(name);
    if (!compiled) {
      const metricNames: string[] = [];
      compiled = { step: this.#compileGradients(name, loss, metricNames), metricNames };
      this.#losses.set(name, compiled);
    }
    const frozen = this.#policy.adapter ? Object.values(this.#policy.weights) : [];
    const weightTensor = tf.scalar(weight);
    const trained = this.#names.map((key) => this.#trained[key]!);
    const outputs = compiled.step(...trained, ...frozen, weightTensor, ...inputs);
    tf.dispose([weightTensor, ...inputs]);
    const figures = outputs.pop()!;
    if (this.#gradients) {
      for (const group of this.#groups) {
        const terms = [this.#gradients, outputs].flatMap((gradients) => group.map((i) => gradients[i]!));
        const sums = this.#sums.get(group.length)!(...terms);
        tf.dispose(terms);
        for (const [at, i] of group.entries()) this.#gradients[i] = sums[at]!;
      }
    } else {
      this.#gradients = outputs;
    }
    const values = await figures.data();
    figures.dispose();
    return Object.fromEntries(compiled.metricNames.map((metric, i) => [metric, values[i]!]));
  }

  /** One AdamW step with the gradients gathered since the last; returns their global norm before clipping. */
  async apply(learningRate: number): Promise<number> {
    const gradients = this.#gradients;
    if (!gradients) throw new Error("Cannot apply an optimiser step: no gradient was accumulated");
    const { m, v } = this.#optimizer;
    const scalars = [tf.scalar(learningRate), tf.scalar(++this.#optimizer.step)];
    const [figures_7, gradNorm] = this.#figures(...scalars, ...gradients) as [tf.Tensor, tf.Tensor];
    // A few at a time, so that there are two copies of no more, and the largest last, when the gradients of the others are gone.
    for (const group of this.#groups) {
      const old = group.flatMap((i) => {
        const name = this.#names[i]!;
        return [this.#trained[name]!, gradients[i]!, m[name]!, v[name]!];
      });
      const updated = this.#updates.get(group.length)!(figures_7, ...old);
      tf.dispose(old);
      for (const [at, i] of group.entries()) {
        const name = this.#names[i]!;
        [this.#trained[name], m[name], v[name]] = updated.slice(3 * at) as [tf.Tensor, tf.Tensor, tf.Tensor];
      }
    }
    this.#gradients = undefined;
    const norm = (await gradNorm.data())[0]!;
    tf.dispose([...scalars, figures_7, gradNorm]);
    return norm;
  }

  /** As `dispose`, at the end of the block of a `using` declaration. */
  [Symbol.dispose](): void {
    this.dispose();
  }

  /** Frees the optimiser's state and compiled steps; the policy stays. */
  dispose(): void {
    tf.dispose([this.#optimizer.m, this.#optimizer.v, this.#gradients ?? []]);
    this.#gradients = undefined;
    this.#figures.dispose();
    for (const step of [...this.#updates.values(), ...this.#sums.values()]) step.dispose();
    for (const { step } of this.#losses.values()) step.dispose();
  }

  /** [trained…, frozen…, weight, inputs…] → [gradients…, metrics [K]]. */
  #compileGradients(name: string, loss: Loss, metricNames: string[]): CompiledStep {
    const { adapter, weights } = this.#policy;
    const frozenNames = adapter ? Object.keys(weights) : [];
    const adapterShape = adapter && { rank: adapter.rank, alpha: adapter.alpha };
    return this.#engine.compile(name, (...all) => {
      const trained = all.slice(0, this.#names.length);
      const frozen = all.slice(this.#names.length, this.#names.length + frozenNames.length);
      const [weight, ...inputs] = all.slice(this.#names.length + frozenNames.length) as [
        tf.Scalar,
        ...tf.Tensor[],
      ];
      let figures: tf.Tensor | undefined;
      const { grads } = tf.valueAndGrads((...parameters: tf.Tensor[]) => {
        const byName = Object.fromEntries(this.#names.map((key, i) => [key, parameters[i]!]));
        const frozenByName = Object.fromEntries(frozenNames.map((key, i) => [key, frozen[i]!]));
        const out = loss(
          adapterShape
            ? { weights: frozenByName, adapter: { ...adapterShape, weights: byName } }
            : { weights: byName, adapter: undefined },
          inputs,
        );
        metricNames.splice(0, metricNames.length, "loss", ...Object.keys(out.metrics));
        figures = tf.keep(tf.stack([out.loss, ...Object.values(out.metrics)]));
        return tf.mul(out.loss, weight) as tf.Scalar;
      })(trained);
      return [...grads, figures!];
    }, { xla: this.xla });
  }
}

/**
 * Numbers in parameters that one call updates, or whose gradients it adds: a call takes a tenth of a millisecond however small
 * they are.
 */
const updatedAtOnce = 2 ** 20;

/** The parameters' numbers in groups of up to `updatedAtOnce`, or of one that is larger; the largest last. */
function groupsBySize(sizes: readonly number[]): number[][] {
  const groups: number[][] = [];
  let room = 0;
  for (const i of [...sizes.keys()].sort((i, j) => sizes[i]! - sizes[j]!)) {
    if (sizes[i]! > room) {
      groups.push([]);
      room = updatedAtOnce;
    }
    groups.at(-1)!.push(i);
    room -= sizes[i]!;
  }
  return groups;
}
