/** A policy's weights on the host, for the decoders that lay them out in their own way. @module */
import * as tf from "@tensorflow/tfjs";
import { effectiveWeight, hasOutputBias, hasQkvBias, outputName, qkvParts, weight } from "./decoder.ts";
import type { Policy } from "./policy.ts";

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

/** Reads one block of a policy. What is joined is joined here: an operation of the engine's takes longer. */
export async function readBlock({ config, weights, adapter }: Policy, layer: number): Promise<HostBlock> {
  const prefix = `model.layers.${layer}.`;
  const own = new Set(Object.values(weights));
  const values = (name: string) => valuesOf(weight(weights, `${prefix}${name}`));
  /** The projections one below the other, each times its factor. */
  const matrix = async (parts: Parts, biased: boolean, norm?: string): Promise<HostMatrix> => {
    const projections = parts.map(([name]) =>
      tf.tidy(() => effectiveWeight(weights, adapter, `${prefix}${name}_proj`))
    );
    const factors = parts.map(([, factor]) => factor);
    const read: HostMatrix = {
      values: joined(await Promise.all(projections.map(valuesOf)), factors),
      shape: [projections.reduce((rows, { shape }) => rows + shape[0]!, 0), projections[0]!.shape[1]!],
      ...norm ? { norm: await values(`${norm}.weight`) } : {},
      bias: biased
        ? joined(await Promise.all(parts.map(([name]) => values(`${name}_proj.bias`))), factors)
        : undefined,
    };
    tf.dispose(projections.filter((tensor) => !own.has(tensor)));
    return read;
  };
  return {
    qkv: await matrix(qkvParts(config), hasQkvBias(config), "input_layernorm"),
    output: await matrix([["self_attn.o", 1]], hasOutputBias(config)),
    gateUp: await matrix([["mlp.gate", 1], ["mlp.up", 1]], false, "post_attention_layernorm"),
    down: await matrix([["mlp.down", 1]], false),
  };
}

type Parts = ReturnType<typeof qkvParts>;

const valuesOf = async (tensor: tf.Tensor) => await tensor.data() as Float32Array;

/** The parts one behind the other, each times its factor; one alone as it is. */
function joined(parts: readonly Float32Array[], factors: readonly number[]): Float32Array {
  if (parts.length === 1) return parts[0]!;
  const all = new Float32Array(parts.reduce((size, { length }) => size + length, 0));
  let at = 0;
  parts.forEach((part, i) => {
    const factor = Math.fround(factors[i]!);
    if (factor === 1) all.set(part, at);
    else for (let j = 0; j < part.length; j++) all[at + j] = part[j]! * factor;
    at += part.length;
  });
  return all;
}

/** Reads the embeddings [V, D], and the matrix that turns hidden states into logits. */
export async function readEnds(
  { config, weights }: Policy,
): Promise<{ embedding: Float32Array; logits: HostMatrix }> {
  const values = (name: string) => valuesOf(weight(weights, name));
  return {
    embedding: await values("model.embed_tokens.weight"),
    logits: {
      values: await values(outputName(config)),
      shape: [config.vocab_size, config.hidden_size],
      norm: await values("model.norm.weight"),
    },
  };
}
