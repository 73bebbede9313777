/**
 * The decoder of native/source/decoder.c: weights, cache and threads are the library's.
 *
 * @module
 */
import { hostThreads } from "../engine/host_threads.ts";
import { type NativeLibrary, nativeLibrary } from "../engine/native/native_library.ts";
import { halfTable, headWidth, rotationTable } from "./decoder.ts";
import {
  drawEach,
  type Drawn,
  type DrawOptions,
  type DrawWish,
  type HostDecoder,
  type Item,
} from "./host_decoder.ts";
import { type HostMatrix, readBlock, readEnds } from "./host_weights.ts";
import type { Policy } from "./policy.ts";
import { noToken } from "./sampling.ts";

/** decoder.h's numbers of matrices. */
const matrices = { qkv: 0, output: 1, gateUp: 2, down: 3, logits: 4 } as const;

/** Up to so many parameters a call takes a tenth of a second for 64 tokens of 64 rows, and not several seconds. */
const smallModel = 4e6;

/** A decoder in machine code. */
export class NativeDecoder implements HostDecoder {
  readonly #library: NativeLibrary;
  readonly #vocabulary: number;
  #decoder: Deno.PointerValue;
  #p = new Float32Array(0);

  private constructor(
    library: NativeLibrary,
    decoder: Deno.PointerValue,
    vocabulary: number,
    readonly slots: number,
    readonly positions: number,
    readonly steps: number,
  ) {
    this.#library = library;
    this.#decoder = decoder;
    this.#vocabulary = vocabulary;
  }

  /** Copies a policy's weights, as they are now, and makes room for `slots` rows of `positions` tokens. */
  static async open(policy: Policy, slots: number, positions: number): Promise<NativeDecoder> {
    const library = nativeLibrary()!;
    library.native_set_threads(hostThreads());
    const { config } = policy;
    const { cos, sin } = halfTable(config, rotationTable(config, positions));
    const shape = Int32Array.of(
      config.hidden_size,
      config.num_attention_heads,
      config.num_key_value_heads,
      headWidth(config),
      config.intermediate_size,
      config.vocab_size,
      config.num_hidden_layers,
      slots,
      positions,
    );
    const { embedding, logits } = await readEnds(policy);
    const bytes = (values: Float32Array | undefined) =>
      values as Float32Array<ArrayBuffer> | undefined ?? null;
    const decoder = library.native_decoder_open(
      shape,
      config.rms_norm_eps,
      bytes(embedding),
      bytes(cos),
      bytes(sin),
    );
    if (decoder === null) throw new Error("Cannot generate: there is no memory for the KV cache");
    let parameters = 0;
    const put = (layer: number, which: number, { values, norm, bias }: HostMatrix) => {
      parameters += values.length;
      library.native_decoder_matrix(decoder, layer, which, bytes(values), bytes(norm), bytes(bias));
    };
    put(0, matrices.logits, logits);
    for (let layer = 0; layer < config.num_hidden_layers; layer++) {
      const block = await readBlock(policy, layer);
      for (const name of ["qkv", "output", "gateUp", "down"] as const) {
        put(layer, matrices[name], block[name]);
      }
    }
    // Threads wait for one another at the end of a call, and timers and signals for all of it.
    const steps = parameters <= smallModel ? 64 : 16;
    return new NativeDecoder(library, decoder, config.vocab_size, slots, positions, steps);
  }

  forward(items: readonly Item[], temperature: number): Float32Array[] {
    const V = this.#vocabulary;
    const { words, wanted } = this.#wordsOf(items);
    if (this.#p.length < wanted * V) this.#p = new Float32Array(wanted * V);
    this.#library.native_decoder_step(this.#decoder, words, items.length, scaleOf(temperature), this.#p);
    return Array.from({ length: wanted }, (_, i) => this.#p.subarray(i * V, (i + 1) * V));
  }

  draw(items: readonly Item[], wishes: readonly DrawWish[], how: DrawOptions): Drawn[] {
    const { temperature, topK = 0, topP = 1, ends } = how;
    if (topK > 0 || topP < 1) return drawEach(this.forward(items, temperature), wishes, how);
    const rows = wishes.length;
    const steps = Math.max(...wishes.map(({ limit }) => limit));
    const uniforms = new Float64Array(rows * steps).fill(-1);
    if (temperature > 0) wishes.forEach((wish, row) => uniforms.set(wish.uniforms, row * steps));
    const limits = Int32Array.from(wishes, ({ limit }) => limit);
    const tokens = new Int32Array(rows * steps), p = new Float32Array(rows * steps);
    const counts = new Int32Array(rows);
    const { words, wanted } = this.#wordsOf(items);
    const last = items.filter(({ wanted }) => wanted);
    if (wanted !== rows || last.some(({ position }, row) => position + limits[row]! > this.positions)) {
      throw new RangeError(
        `Cannot draw for ${rows} rows: ${wanted} are wanted, or one would not fit its slot`,
      );
    }
    const scale = scaleOf(temperature);
    // deno-fmt-ignore
    this.#library.native_decoder_draw(
      this.#decoder, words, items.length, steps, scale, uniforms, limits, ends, tokens, counts, p,
    );
    return Array.from(counts, (count, row) => {
      const at = row * steps;
      const drawn = listOf(tokens, at, count);
      if (drawn.includes(-1)) throw noToken();
      return { tokens: drawn, p: listOf(p, at, count) };
    });
  }

  /** Items as decoder.h has them, and how many distributions are wanted; what lies outside of the library's memory is refused. */
  #wordsOf(items: readonly Item[]): { words: Int32Array<ArrayBuffer>; wanted: number } {
    const words = new Int32Array(4 * items.length);
    let count = 0;
    for (let i = 0; i < items.length; i++) {
      const { token, slot, position, wanted } = items[i]!;
      const known = isBelow(token, this.#vocabulary) && isBelow(slot, this.slots) &&
        isBelow(position, this.positions);
      if (!known) {
        throw new RangeError(
          `Cannot send token ${token} at position ${position} of slot ${slot} through the model: it has ` +
            `${this.#vocabulary} tokens, ${this.positions} positions and ${this.slots} slots`,
        );
      }
      words[4 * i] = token;
      words[4 * i + 1] = slot;
      words[4 * i + 2] = position;
      words[4 * i + 3] = Number(wanted);
      count += Number(wanted);
    }
    return { words, wanted: count };
  }

  copy(from: number, to: number, count: number): void {
    if (!isBelow(from, this.slots) || !isBelow(to, this.slots) || !isBelow(count, this.positions + 1)) {
      throw new RangeError(
        `Cannot copy ${count} positions of slot ${from} to ${to}: there are ${this.slots} slots`,
      );
    }
    this.#library.native_decoder_copy(this.#decoder, from, to, count);
  }

  dispose(): void {
    this.#library.native_decoder_close(this.#decoder);
    this.#decoder = null;
  }
}

/** `count` of the values from `from` on; spreading them takes ten times as long. */
function listOf(values: Int32Array | Float32Array, from: number, count: number): number[] {
  const list = new Array<number>(count);
  for (let i = 0; i < count; i++) list[i] = values[from + i]!;
  return list;
}

function scaleOf(temperature: number): number {
  return temperature === 0 ? 1 : 1 / temperature;
}

function isBelow(value: number, limit: number): boolean {
  return Number.isInteger(value) && value >= 0 && value < limit;
}
