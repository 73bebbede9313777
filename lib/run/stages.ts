/** The stages of a run: their names, and the settings that each occurrence has. */
import type { Config } from "./config.ts";
import type { stageKinds } from "./config_schema.ts";

/** One stage of a run. */
export interface Stage {
  kind: typeof stageKinds[number];
  /** `sft`, `grpo-1`, `ofsd-1`, `grpo-2`, …; a second SFT stage is `sft-2`. */
  name: string;
  /** 0 for the first stage of its kind, 1 for the second, … */
  occurrence: number;
}

/**
 * The stages in order with their names.
 *
 * @example
 * ```ts
 * import { stagesOf } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(stagesOf({ stages: ["sft", "grpo", "ofsd", "grpo"] }).map((stage) => stage.name), [
 *   "sft",
 *   "grpo-1",
 *   "ofsd-1",
 *   "grpo-2",
 * ]);
 * ```
 */
export function stagesOf(config: Pick<Config, "stages">): Stage[] {
  const seen = new Map<string, number>();
  return config.stages.map((kind) => {
    const occurrence = seen.get(kind) ?? 0;
    seen.set(kind, occurrence + 1);
    const name = kind === "sft" && occurrence === 0 ? "sft" : `${kind}-${occurrence + 1}`;
    return { kind, name, occurrence };
  });
}

/**
 * The GRPO settings of one occurrence, with one value where the config has a list.
 *
 * @example
 * ```ts
 * import { grpoSettings, parseConfig } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * const config = parseConfig("[grpo]\nsteps = [10, 6]", "run.toml");
 * assertEquals([0, 1, 2].map((occurrence) => grpoSettings(config, occurrence).steps), [10, 6, 6]);
 * ```
 */
export function grpoSettings(config: Config, occurrence: number) {
  const { steps, questions_per_step, learning_rate } = config.grpo;
  return {
    ...config.grpo,
    steps: atOccurrence(steps, occurrence),
    questions_per_step: atOccurrence(questions_per_step, occurrence),
    learning_rate: atOccurrence(learning_rate, occurrence),
  };
}

/**
 * The OFSD settings of one occurrence, with one value where the config has a list.
 *
 * @example
 * ```ts
 * import { ofsdSettings, parseConfig } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * const config = parseConfig("[ofsd]\nquestions = [160, 80]", "run.toml");
 * assertEquals(ofsdSettings(config, 1).questions, 80);
 * ```
 */
export function ofsdSettings(config: Config, occurrence: number) {
  const { questions, learning_rate } = config.ofsd;
  return {
    ...config.ofsd,
    questions: atOccurrence(questions, occurrence),
    learning_rate: atOccurrence(learning_rate, occurrence),
  };
}

/** GRPO settings of one stage. */
export type GrpoSettings = ReturnType<typeof grpoSettings>;

/** OFSD settings of one stage. */
export type OfsdSettings = ReturnType<typeof ofsdSettings>;

function atOccurrence<T>(value: T | T[], occurrence: number): T {
  return Array.isArray(value) ? value[Math.min(occurrence, value.length - 1)]! : value;
}
