/** `deno task train`: one run with your own settings. */
import { exists } from "../lib/base/files.ts";
import { InputError } from "../lib/base/input_error.ts";
import { writeReport } from "../lib/report/report.ts";
import { loadConfig } from "../lib/run/config.ts";
import { differentKey, readEvaluation, runPaths, runState } from "../lib/run/run_folder.ts";
import { commonFlags, runTask, settings } from "./command_line.ts";
import { interruption } from "./interruption.ts";
import { prepareEngine } from "./prepare_engine.ts";
import { printResults, runOnce } from "./run_once.ts";

const flags = {
  ...commonFlags,
  resume: { kind: "switch", about: "Go on with the run in --out from its newest checkpoint" },
} as const;

await runTask("train", "Trains a search agent with the settings of a TOML file.", flags, async (given) => {
  const folder = given.out?.replace(/\/+$/, "") ?? nameFor(given.config);
  const state = await runState(folder);
  if (state !== "new" && !given.resume) {
    throw new InputError(
      `Cannot start in ${folder}: a run is there; go on with --resume or choose another --out`,
    );
  }
  if (state === "new" && !given.config) {
    throw new InputError(
      `Cannot start in ${folder}: no settings given; name a file, --config data/presets/smoke.toml`,
    );
  }
  const config = await loadConfig(given.config ?? runPaths(folder).config, settings(given));
  const different = state === "new" ? undefined : await differentKey(folder, config);
  if (different) {
    throw new InputError(
      `Cannot resume ${folder}: ${different} differs from its config.toml; choose another --out`,
    );
  }
  if (state === "finished") {
    if (!await exists(runPaths(folder).report)) await writeReport(folder);
    console.log(`${folder} is finished; nothing is left to do`);
    printResults(folder, await readEvaluation(folder));
    return 0;
  }
  const { engine, downloadSeconds } = await prepareEngine(config);
  const { signal, stop } = await interruption();
  try {
    const evaluation = await runOnce({
      config,
      folder,
      engine,
      resume: state === "unfinished",
      signal,
      startedAt: 0,
      downloadSeconds,
    });
    return evaluation ? 0 : 130;
  } finally {
    stop();
    engine.close();
  }
});

/** `data/presets/smoke.toml` runs in `runs/smoke`. */
function nameFor(config: string | undefined): string {
  if (!config) throw new InputError("Cannot train: give --config FILE, or --resume with --out FOLDER");
  return `runs/${config.split("/").at(-1)!.replace(/\.toml$/, "")}`;
}
