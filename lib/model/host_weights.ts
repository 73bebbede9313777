/** A policy's weights on the host, for the decoders that lay them out in their own way. @module */
import * as tf from "@tensorflow/tfjs";
import { blockTensors, outputName } from "./decoder.ts";
import { tidyObject } from "./kv_cache.ts";
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
