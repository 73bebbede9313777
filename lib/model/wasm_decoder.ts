/**
 * The decoder in WebAssembly, on as many threads as the engine has.
 *
 * @module
 */
import { hostThreads } from "../engine/host_threads.ts";
import { halfTable, headWidth, rotationTable } from "./decoder.ts";
import {
  drawEach,
  type Drawn,
  type DrawOptions,
  type DrawWish,
  type HostDecoder,
  type Item,
  slotBytesOf,
} from "./host_decoder.ts";
import { type HostMatrix, readBlock, readEnds } from "./host_weights.ts";
import { control, type DecoderKernels, header, instantiate, runPart } from "./wasm_decoder_memory.ts";
import type { ModelConfig, Policy } from "./policy.ts";

/** Threads that generate at most: the control words hold as many. */
const mostThreads = 32;
/** Items that a thread sends through the model at a time. */
const itemsAtOnce = 128;
/** A policy's weights, laid out for decoder.wasm, with slots for rows. */
export class WasmDecoder implements HostDecoder {
  readonly positions: number;
  readonly steps = 1;
  readonly slots: number;
  readonly #config: ModelConfig;
  readonly #memory: WebAssembly.Memory;
  readonly #kernels: DecoderKernels;
  readonly #workers: Worker[];
  readonly #words: Int32Array;
  /** For each thread its items, scratch space and distributions, in bytes. */
  readonly #parts: { items: number; scratch: number; p: number }[];
  #generation = 0;

  private constructor(
    config: ModelConfig,
    [slots, positions]: [number, number],
    memory: WebAssembly.Memory,
    kernels: DecoderKernels,
    workers: Worker[],
    parts: { items: number; scratch: number; p: number }[],
  ) {
    [this.slots, this.positions] = [slots, positions];
    this.#config = config;
    this.#memory = memory;
    this.#kernels = kernels;
    this.#workers = workers;
    this.#parts = parts;
    this.#words = new Int32Array(memory.buffer, 0, header / 4);
  }

  /** Copies a policy's weights, as they are now, and makes room for `slots` rows of `positions` tokens. */
  static async open(policy: Policy, slots: number, positions: number): Promise<WasmDecoder> {
    const threads = Math.min(hostThreads(), mostThreads);
    const memory = new WebAssembly.Memory({ initial: 1, maximum: 65536, shared: true });
    const module = await decoderModule();
    const kernels = instantiate(module, memory);
    const place = new Arena(memory, header);
    await layOut(policy, positions, slots, memory, kernels, place);
    const V8 = roundUp(policy.config.vocab_size, 8);
    const parts = Array.from({ length: threads }, () => ({
      items: place.take(16 * itemsAtOnce),
      scratch: place.take(kernels.scratchBytes(header, itemsAtOnce)),
      p: place.take(4 * V8 * itemsAtOnce),
    }));
    const workers = await Promise.all(parts.slice(1).map((_, i) => startWorker(module, memory, i + 1)));
    return new WasmDecoder(policy.config, [slots, positions], memory, kernels, workers, parts);
  }

  forward(items: readonly Item[], temperature: number): Float32Array[] {
    const waves = this.#waves(items);
    const scale = temperature === 0 ? 1 : 1 / temperature;
    return waves.flatMap((parts, wave) => {
      const found = this.#step(parts, scale);
      return wave === waves.length - 1 ? found : found.map((p) => p.slice());
    });
  }

  draw(items: readonly Item[], wishes: readonly DrawWish[], how: DrawOptions): Drawn[] {
    return drawEach(this.forward(items, how.temperature), wishes, how);
  }

  copy(from: number, to: number, count: number): void {
    this.#kernels.copySlot(header, from, to, count);
  }

  // The memory goes with the object.
  dispose(): void {
    Atomics.store(this.#words, control.stop, 1);
    Atomics.add(this.#words, control.go, 1);
    Atomics.notify(this.#words, control.go);
    for (const worker of this.#workers) worker.terminate();
  }

  /** Items in steps, each with a part for every thread; a slot's items are in one part of a step. */
  #waves(items: readonly Item[]): Item[][][] {
    const waves: Item[][][] = [];
    for (let next = 0; next < items.length;) {
      const share = Math.min(itemsAtOnce, Math.ceil((items.length - next) / this.#parts.length));
      const sameSlot = (at: number) => at < items.length && items[at]!.slot === items[at - 1]!.slot;
      let cut = false;
      waves.push(this.#parts.map(() => {
        const start = next;
        if (cut || start === items.length) return [];
        next = Math.min(items.length, start + share);
        while (sameSlot(next) && next - start < itemsAtOnce) next++;
        cut = sameSlot(next); // its rest comes in the next step
        return items.slice(start, next);
      }));
    }
    return waves;
  }

  #step(parts: readonly Item[][], scale: number): Float32Array[] {
    const words = this.#words;
    parts.forEach((items, thread) => {
      const part = this.#parts[thread]!;
      const at = control.parts + thread * control.partWords;
      words.set([part.items, items.length, part.scratch, part.p], at);
      new Float32Array(words.buffer, 4 * (at + 4), 1)[0] = scale;
      const view = new Int32Array(words.buffer, part.items, 4 * items.length);
      items.forEach(({ token, slot, position, wanted }, i) =>
        view.set([token, slot, position, Number(wanted)], 4 * i)
      );
    });
    this.#generation++;
    if (this.#workers.length > 0) {
      Atomics.store(words, control.go, this.#generation);
      Atomics.notify(words, control.go);
    }
    runPart(this.#kernels, words, 0);
    for (let thread = 1; thread < parts.length; thread++) this.#await(thread);

    const V = this.#config.vocab_size, V8 = roundUp(V, 8);
    return parts.flatMap((items, thread) =>
      items.filter(({ wanted }) => wanted).map((_, i) =>
        new Float32Array(this.#memory.buffer, this.#parts[thread]!.p + 4 * i * V8, V)
      )
    );
  }

  #await(thread: number): void {
    const at = control.done + thread;
    for (let spins = 0; Atomics.load(this.#words, at) !== this.#generation; spins++) {
      if (spins > 2000) Atomics.wait(this.#words, at, this.#generation - 1, 1000);
    }
    if (Atomics.load(this.#words, control.failed) !== 0) throw new Error("Cannot generate: a thread failed");
  }
}

let compiled: Promise<WebAssembly.Module> | undefined;
function decoderModule(): Promise<WebAssembly.Module> {
  return compiled ??= Deno.readFile(new URL("../engine/wasm_kernels/decoder.wasm", import.meta.url))
    .then((bytes) => WebAssembly.compile(bytes));
}

function startWorker(
  module: WebAssembly.Module,
  memory: WebAssembly.Memory,
  thread: number,
): Promise<Worker> {
  const worker = new Worker(new URL("./wasm_decoder_worker.ts", import.meta.url), { type: "module" });
  return new Promise((resolve, reject) => {
    worker.onmessage = () => resolve(worker);
    worker.onerror = (event) => {
      event.preventDefault();
      reject(new Error(`Cannot start a thread for generation: ${event.message}`));
    };
    worker.postMessage({ module, memory, thread });
  });
}

/** Hands out places of a memory that grows, at multiples of 64 bytes. */
class Arena {
  constructor(readonly memory: WebAssembly.Memory, private next: number) {}

  take(bytes: number): number {
    const at = roundUp(this.next, 64);
    this.next = at + bytes;
    const missing = this.next - this.memory.buffer.byteLength;
    if (missing > 0) this.memory.grow(Math.ceil(missing / 65536));
    return at;
  }

  put(values: Float32Array): number {
    const at = this.take(values.byteLength);
    new Float32Array(this.memory.buffer, at, values.length).set(values);
    return at;
  }
}

function roundUp(n: number, multiple: number): number {
  return Math.ceil(n / multiple) * multiple;
}

/** Writes weights, angles and the model's header, and takes the room of the slots. */
async function layOut(
  policy: Policy,
  positions: number,
  slots: number,
  memory: WebAssembly.Memory,
  kernels: DecoderKernels,
  place: Arena,
): Promise<void> {
  const { config } = policy;
  place.take(4 * (14 + 6 * config.num_hidden_layers)); // the header itself

  /** A matrix as strips; its inputs times the weights of the norm before it. */
  const strips = ({ values, shape: [out, width], norm }: HostMatrix) => {
    const to = place.take(4 * roundUp(out, 8) * width);
    const after = new Arena(memory, to + 4 * roundUp(out, 8) * width); // free again once the strips are laid
    const from = after.put(values);
    kernels.packStrips(from, to, out, width, norm ? after.put(norm) : 0);
    return to;
  };
  const bias = ({ bias }: HostMatrix) => {
    if (!bias) return 0;
    const padded = new Float32Array(roundUp(bias.length, 8));
    padded.set(bias);
    return place.put(padded);
  };

  const blocks: number[] = [];
  for (let layer = 0; layer < config.num_hidden_layers; layer++) {
    const { qkv, output, gateUp, down } = await readBlock(policy, layer);
    blocks.push(strips(qkv), bias(qkv), strips(output), bias(output), strips(gateUp), strips(down));
  }
  const { cos, sin } = halfTable(config, rotationTable(config, positions));
  const { embedding, logits } = await readEnds(policy);
  const fields: number[] = [
    config.hidden_size,
    config.num_attention_heads,
    config.num_key_value_heads,
    headWidth(config),
    config.intermediate_size,
    config.vocab_size,
    config.num_hidden_layers,
    positions,
    0, // epsilon, as a float below
    place.put(embedding),
    strips(logits),
    place.put(cos),
    place.put(sin),
    0, // the cache
    ...blocks,
  ];
  // Scores are computed eight positions at a time: a few beyond the last slot are read, and not used.
  fields[13] = place.take(slots * slotBytesOf(config, positions) + 32 * headWidth(config));
  new Int32Array(memory.buffer, header, fields.length).set(fields);
  new Float32Array(memory.buffer, header + 32, 1)[0] = config.rms_norm_eps;
}
