/**
 * Decoders of the kit's own for generation on the processor: the whole model in one call a step, where tfjs would make a
 * call an operation. In machine code under the engine `tensorflow` where there is some for this machine, else in
 * WebAssembly.
 *
 * A row's keys and values lie in a slot. Its numbers depend on its own tokens alone, to the last bit: rows may come and go,
 * share a step with any others, and be computed by any thread.
 *
 * @module
 */
import * as tf from "@tensorflow/tfjs";
import { hostThreads } from "../engine/host_threads.ts";
import { nativeLibrary } from "../engine/native/native_library.ts";
import { blockTensors, headWidth, outputName } from "./decoder.ts";
import { tidyObject } from "./kv_cache.ts";
import { NativeDecoder } from "./native_decoder.ts";
import type { ModelConfig, Policy } from "./policy.ts";
import { sampleToken, type SamplingOptions } from "./sampling.ts";
import { WasmDecoder } from "./wasm_decoder.ts";

/** A token that goes through the model, at a position of a slot. */
export interface Item {
  token: number;
  slot: number;
  position: number;
  /** Whether the distribution of the token after it is asked for. */
  wanted: boolean;
}

/** What a row may have. */
export interface DrawWish {
  /** Numbers in [0, 1), one for each token up to `limit`; not looked at when greedy. */
  uniforms: readonly number[];
  /** Tokens at most, from 1 to the decoder's `steps`. */
  limit: number;
}

/** How tokens are drawn. */
export interface DrawOptions extends SamplingOptions {
  /** [V] 1 for every token after which the caller wants to be asked. */
  ends: Uint8Array<ArrayBuffer>;
}

/** Tokens that were drawn for a row, and the probability of each. */
export interface Drawn {
  tokens: number[];
  p: number[];
}

/** A policy's weights as they were when it was opened, with slots for rows. */
export interface HostDecoder {
  readonly slots: number;
  /** Tokens that a slot has room for. */
  readonly positions: number;
  /**
   * Sends items through the model, those of a slot together and in the order of their positions, and returns the
   * distribution [V] after each wanted one, in their order. They are valid until the next call.
   */
  forward(items: readonly Item[], temperature: number): Float32Array[];
  /** How many tokens `draw` draws for a row at a time, at most. */
  readonly steps: number;
  /**
   * Draws from the distribution after each wanted item, one a row, the last of its slot; and goes on with what was drawn, as
   * long as the decoder sees fit.
   */
  draw(items: readonly Item[], wishes: readonly DrawWish[], how: DrawOptions): Drawn[];
  /** Copies the first `count` positions of one slot into another. */
  copy(from: number, to: number, count: number): void;
  /** Frees memory and threads. */
  dispose(): void;
}

/** Bytes of slots that are kept. */
const mostSlotBytes = 2 ** 30;

/** Bytes of weights above which tfjs generates: in machine code what memory can hold twice, in WebAssembly where it is slower. */
const mostWeightBytes = { native: 2 ** 32, wasm: 2 ** 27 };

function usesNative(): boolean {
  return tf.getBackend() === "tensorflow" && nativeLibrary() !== undefined;
}

/** Bytes of a slot of so many positions. */
export function slotBytesOf(config: ModelConfig, positions: number): number {
  return 8 * config.num_hidden_layers * config.num_key_value_heads * headWidth(config) * positions;
}

/**
 * How many slots of so many positions a decoder of this model has for `rows` rows; 0 where tfjs is to generate: on a
 * graphics card, for a large model, and in WebAssembly for widths that no vector fits.
 */
export function hostSlots(config: ModelConfig, positions: number, rows: number): number {
  const { hidden_size: D, intermediate_size: F, vocab_size: V, num_hidden_layers: L } = config;
  const native = usesNative();
  const weightBytes = 4 * (2 * V * D + L * (4 * D * D + 3 * D * F));
  if (hostThreads() === 0 || weightBytes > mostWeightBytes[native ? "native" : "wasm"]) return 0;
  if (!native && (D % 8 !== 0 || F % 4 !== 0 || headWidth(config) % 4 !== 0)) return 0;
  return Math.min(rows, Math.floor(mostSlotBytes / slotBytesOf(config, positions)));
}

/** Copies a policy's weights, as they are now, and makes room for `slots` rows of `positions` tokens. */
export function openHostDecoder(policy: Policy, slots: number, positions: number): Promise<HostDecoder> {
  return usesNative()
    ? NativeDecoder.open(policy, slots, positions)
    : WasmDecoder.open(policy, slots, positions);
}

/** Draws one token from each distribution on the host. */
export function drawEach(
  distributions: readonly Float32Array[],
  wishes: readonly DrawWish[],
  sampling: SamplingOptions,
): Drawn[] {
  return distributions.map((p, i) => {
    const token = sampleToken(p, wishes[i]!.uniforms[0] ?? 0, sampling);
    return { tokens: [token], p: [p[token]!] };
  });
}

/** A matrix [out, in] on the host, what is multiplied into its inputs and added to its outputs. */
export interface HostMatrix {
  values: Float32Array;
  shape: [number, number];
  /** The weights [in] of the norm before it. */
  norm?: Float32Array;
  /** [out]. */
  bias?: Float32Array | undefined;
}

/** A block's matrices on the host; projections that read the same input are one. */
export interface HostBlock {
  qkv: HostMatrix;
  output: HostMatrix;
  gateUp: HostMatrix;
  down: HostMatrix;
}

/** Reads one block of a policy. */
export async function readBlock({ config, weights, adapter }: Policy, layer: number): Promise<HostBlock> {
  const own = new Set(Object.values(weights));
  const block = tidyObject(() => {
    const { gate, up, ...rest } = blockTensors(config, weights, adapter, layer);
    return { ...rest, gateUp: tf.concat([gate, up], 0) };
  });
  const values = async (tensor: tf.Tensor) => await tensor.data() as Float32Array;
  const matrix = async (tensor: tf.Tensor, norm?: tf.Tensor, bias?: tf.Tensor): Promise<HostMatrix> => ({
    values: await values(tensor),
    shape: tensor.shape as [number, number],
    ...norm ? { norm: await values(norm) } : {},
    bias: bias && await values(bias),
  });
  const read = {
    qkv: await matrix(block.qkv, block.attentionNorm, block.qkvBias),
    output: await matrix(block.output, undefined, block.outputBias),
    gateUp: await matrix(block.gateUp, block.feedForwardNorm),
    down: await matrix(block.down),
  };
  tf.dispose(Object.values(block).filter((tensor) => tensor && !own.has(tensor)));
  return read;
}

/** Reads the embeddings [V, D], and the matrix that turns hidden states into logits. */
export async function readEnds(
  { config, weights }: Policy,
): Promise<{ embedding: Float32Array; logits: HostMatrix }> {
  const values = async (name: string) => await weights[name]!.data() as Float32Array;
  return {
    embedding: await values("model.embed_tokens.weight"),
    logits: {
      values: await values(outputName(config)),
      shape: [config.vocab_size, config.hidden_size],
      norm: await values("model.norm.weight"),
    },
  };
}
