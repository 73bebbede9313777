/** What `eval` and `rollout` share: a trained policy, its settings, its data and an engine. */
import { exists } from "../lib/base/files.ts";
import { InputError } from "../lib/base/input_error.ts";
import type { Engine } from "../lib/engine/open_engine.ts";
import { loadPolicy } from "../lib/model/hf_folder.ts";
import type { Policy } from "../lib/model/policy.ts";
import { policyFolder } from "../lib/run/checkpoint.ts";
import { type Config, loadConfig } from "../lib/run/config.ts";
import { openRunData, type RunData } from "../lib/run/run_data.ts";
import { commonFlags, type Flag, settings } from "./command_line.ts";
import { prepareEngine } from "./prepare_engine.ts";

/** Flags that name a policy. */
export const policyFlags = {
  run: {
    kind: "text",
    value: "FOLDER",
    about:
      "A run folder (its best checkpoint), one of its checkpoints, or any Hugging Face folder; runs/demo",
  },
  config: { ...commonFlags.config, about: "TOML file; the run's own when left out" },
  set: commonFlags.set,
  seed: commonFlags.seed,
  engine: commonFlags.engine,
} as const satisfies Record<string, Flag>;

/** A policy ready to act. */
export interface OpenPolicy {
  config: Config;
  engine: Engine;
  policy: Policy;
  data: RunData;
  /** The folder the weights come from. */
  folder: string;
}

/**
 * Opens the policy that the flags name.
 *
 * @throws {InputError} when there is none, or when it stands in no run folder and no --config is given.
 */
export async function openPolicy(
  given:
    & { run: string | undefined; config: string | undefined; set: string[] }
    & Parameters<typeof settings>[0],
): Promise<OpenPolicy> {
  const folder = await policyFolder(given.run ?? "runs/demo");
  const config = await loadConfig(given.config ?? await configBeside(folder), settings(given));
  const data = await openRunData(config);
  const { engine } = await prepareEngine(config);
  return { config, engine, policy: await loadPolicy(folder), data, folder };
}

async function configBeside(folder: string): Promise<string> {
  const path = `${folder}/../../config.toml`;
  if (await exists(path)) return path;
  throw new InputError(
    `Cannot find the settings of ${folder}: it is in no run folder; name a file with --config`,
  );
}
