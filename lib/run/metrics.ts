/**
 * `metrics.jsonl`: one JSON object a step. Names are TRL's where TRL has one (`reward`, `kl`, `entropy`,
 * `completions/mean_length`, …). Measured quantities, which differ from run to run, are named `time/…`, `step_time` or
 * `memory/…` only.
 *
 * @module
 */
import { InputError } from "../base/input_error.ts";
import { AppendLog } from "./append_log.ts";

/** One step's figures. `step` counts on through all stages. A figure that does not apply is NaN. */
export type MetricsRow = { step: number; stage: string } & Record<string, number | string>;

/**
 * Opens `metrics.jsonl`, cut back to `length` bytes.
 *
 * @throws {Error} when the file is shorter than `length`.
 *
 * @example
 * ```ts
 * import { appendMetrics, openMetrics, readMetrics } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * const path = await Deno.makeTempFile();
 * const log = await openMetrics(path);
 * await appendMetrics(log, { step: 1, stage: "sft" });
 * log.close();
 * (await openMetrics(path, 0)).close(); // cut back to nothing
 * assertEquals(await readMetrics(path), []);
 * await Deno.remove(path);
 * ```
 */
export function openMetrics(path: string, length = 0): Promise<AppendLog> {
  return AppendLog.open(path, length);
}

/**
 * A row as its line of JSON; NaN and infinities become null, as JSON has no word for them.
 *
 * @example
 * ```ts
 * import { metricsLine } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(metricsLine({ step: 3, stage: "sft", loss: NaN }), '{"step":3,"stage":"sft","loss":null}\n');
 * ```
 */
export function metricsLine(row: MetricsRow): string {
  return JSON.stringify(row) + "\n";
}

/**
 * Appends a row.
 *
 * @example
 * ```ts
 * import { appendMetrics, openMetrics, readMetrics } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * const path = await Deno.makeTempFile();
 * const log = await openMetrics(path);
 * await appendMetrics(log, { step: 1, stage: "sft", loss: 2.5 });
 * log.close();
 * assertEquals(await readMetrics(path), [{ step: 1, stage: "sft", loss: 2.5 }]);
 * ```
 */
export function appendMetrics(log: AppendLog, row: MetricsRow): Promise<void> {
  return log.append(new TextEncoder().encode(metricsLine(row)));
}

/**
 * Reads the rows of a `metrics.jsonl`; null becomes NaN again. A last line without its end is one that a killed process
 * was writing, and is left out.
 *
 * @throws {InputError} for a missing file, and for a line that is no JSON object.
 *
 * @example
 * ```ts
 * import { metricsLine, readMetrics } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * const path = await Deno.makeTempFile();
 * const row = { step: 1, stage: "sft", loss: NaN };
 * await Deno.writeTextFile(path, metricsLine(row) + '{"step": 2, "sta');
 * assertEquals(await readMetrics(path), [row]);
 * await Deno.remove(path);
 * ```
 */
export async function readMetrics(path: string): Promise<MetricsRow[]> {
  let text: string;
  try {
    text = await Deno.readTextFile(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    throw new InputError(
      `Cannot read ${path}: there is no such file; give the folder of a run, such as runs/demo`,
    );
  }
  return text.split("\n").slice(0, -1).map((line, i) => {
    try {
      const row = JSON.parse(line) as Record<string, number | string | null>;
      return Object.fromEntries(Object.entries(row).map(([key, value]) => [key, value ?? NaN])) as MetricsRow;
    } catch {
      throw new InputError(
        `Cannot parse ${path} line ${i + 1}: it is no JSON object; delete the line or the run`,
      );
    }
  });
}

/**
 * The row without what differs from run to run, for comparing two runs.
 *
 * @example
 * ```ts
 * import { withoutMeasurements } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(withoutMeasurements({ step: 1, stage: "sft", loss: 2, step_time: 3 }), { step: 1, stage: "sft", loss: 2 });
 * ```
 */
export function withoutMeasurements(row: MetricsRow): MetricsRow {
  return Object.fromEntries(
    Object.entries(row).filter(([key]) =>
      key !== "step_time" && !key.startsWith("time/") && !key.startsWith("memory/")
    ),
  ) as MetricsRow;
}
