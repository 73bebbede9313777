/** What notebooks begin with: how large to make things, and a finished run to look into. @module */
import { InputError } from "../base/input_error.ts";
import { differentKey, runState } from "../run/run_folder.ts";
import { type RunOptions, runSearchE1 } from "../run/search_e1.ts";
import { writeReport } from "./report.ts";

/**
 * How large a notebook makes its examples: `full` is for reading, `smoke` for checking in a minute that all of it runs. The
 * environment variable SEARCH_E1_PRESET chooses; `full` when it is not set.
 *
 * @throws {InputError} when it is set to something else.
 *
 * @example
 * ```ts
 * import { notebookPreset } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * Deno.env.set("SEARCH_E1_PRESET", "smoke");
 * assertEquals(notebookPreset(), "smoke");
 * ```
 */
export function notebookPreset(): "smoke" | "full" {
  const preset = Deno.env.get("SEARCH_E1_PRESET") || "full";
  if (preset === "smoke" || preset === "full") return preset;
  throw new InputError(`Cannot use SEARCH_E1_PRESET=${preset}: it is smoke or full`);
}

/**
 * The folder of a finished run with these settings: `folder`, or the first of `folder-2`, `folder-3`, … that holds one. An
 * unfinished run of the same settings is finished; where there is none, one is trained.
 *
 * @throws {InputError} as `runSearchE1` does.
 *
 * @example
 * ```ts
 * import { finishedRun, openEngine, parseConfig } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * const config = parseConfig(
 *   `
 *   stages = ["sft"]
 *   world = { countries = 12, cities = 16, airports = 16, sft_worlds = 1, rl_worlds = 1, hop_shares = [1, 0, 0] }
 *   model = { hidden_size = 8, layers = 1, heads = 2, kv_heads = 1, intermediate_size = 16 }
 *   agent = { instruction = "{question}\\n", documents = 1, max_turns = 1, max_new_tokens = 8 }
 *   sft = { phases = [{ steps = 2, learning_rate = 1e-2 }], batch = 2, demonstrations = 16 }
 *   evaluate = { n = 2, validation_n = 2, recall_n = 0 }
 *   `,
 *   "example",
 * );
 * const engine = await openEngine({ engine: "cpu" });
 * const folder = await Deno.makeTempDir();
 * assertEquals(await finishedRun({ config, folder: `${folder}/run`, engine }), `${folder}/run`); // trains
 * assertEquals(await finishedRun({ config, folder: `${folder}/run`, engine }), `${folder}/run`); // is there
 * engine.close();
 * await Deno.remove(folder, { recursive: true });
 * ```
 */
export async function finishedRun(
  options: Pick<RunOptions, "config" | "folder" | "engine" | "onProgress" | "rewards" | "signal">,
): Promise<string> {
  for (let number = 1;; number++) {
    const folder = number === 1 ? options.folder : `${options.folder}-${number}`;
    const state = await runState(folder);
    if (state !== "new" && await differentKey(folder, options.config) !== undefined) continue;
    if (state === "finished") return folder;
    const startedAt = performance.now();
    const { finished } = await runSearchE1({ ...options, folder, resume: state === "unfinished", startedAt });
    if (!finished) throw new Error(`Cannot go on: the run in ${folder} was stopped before its end`);
    await writeReport(folder);
    return folder;
  }
}
