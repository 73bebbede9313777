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
import { headWidth } from "./decoder.ts";
import type { ModelConfig } from "./policy.ts";
import { sampleToken, type SamplingOptions } from "./sampling.ts";

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

/** Bytes of a slot of so many positions. */
export function slotBytesOf(config: ModelConfig, positions: number): number {
  return 8 * config.num_hidden_layers * config.num_key_value_heads * headWidth(config) * positions;
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
