/**
 * Rolls a checkpoint out and prints the tokens as JSON: a process of its own, since libtensorflow has one thread pool a
 * process.
 *
 *     deno run … tests/rollout_tokens.ts WORLD_FOLDER CHECKPOINT ENGINE THREADS TEMPERATURE
 */
import { type EngineName, openEngine } from "../lib/engine/open_engine.ts";
import { sampledRollouts } from "./sampled_rollouts.ts";

const [folder, checkpoint, name, threads, temperature] = Deno.args as [
  string,
  string,
  EngineName,
  string,
  string,
];
const engine = await openEngine({ engine: name, threads: Number(threads) });
const made = await sampledRollouts(folder, checkpoint, { temperature: Number(temperature) });
console.log(JSON.stringify({ threads: engine.threads, made }));
engine.close();
