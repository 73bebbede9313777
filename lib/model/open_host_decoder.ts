/** Which of the kit's own decoders generates, if any. @module */
import * as tf from "@tensorflow/tfjs";
import { hostThreads } from "../engine/host_threads.ts";
import { nativeLibrary } from "../engine/native/native_library.ts";
import { headWidth } from "./decoder.ts";
import { type HostDecoder, slotBytesOf } from "./host_decoder.ts";
import { NativeDecoder } from "./native_decoder.ts";
import type { ModelConfig, Policy } from "./policy.ts";
import { WasmDecoder } from "./wasm_decoder.ts";

/** Bytes of slots that are kept. */
const mostSlotBytes = 2 ** 30;

/** Bytes of weights above which tfjs generates: in machine code what memory can hold twice, in WebAssembly where it is slower. */
const mostWeightBytes = { native: 2 ** 32, wasm: 2 ** 27 };

function usesNative(): boolean {
  return tf.getBackend() === "tensorflow" && nativeLibrary() !== undefined;
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
