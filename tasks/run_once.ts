/** What `demo` and `train` share: run all stages, show progress, write the report, print the table. */
import type { Evaluation } from "../lib/eval/evaluation.ts";
import { writeReport } from "../lib/report/report.ts";
import { evaluationNotes, evaluationRows, textTable } from "../lib/report/tables.ts";
import { progressPrinter } from "../lib/run/progress.ts";
import { runPaths, writeEvaluation } from "../lib/run/run_folder.ts";
import { type RunOptions, runSearchE1 } from "../lib/run/search_e1.ts";
import { typedCommand } from "./command_line.ts";

/**
 * Runs all stages, writes the report, prints the table; undefined when the run was interrupted.
 *
 * @param again The words after `deno task` that go on with an interrupted run.
 */
export async function runOnce(
  options: RunOptions,
  again: string[] = ["train", "--resume", "--out", options.folder],
): Promise<Evaluation | undefined> {
  const { folder } = options;
  const terminal = Deno.stderr.isTerminal();
  const onProgress = progressPrinter({
    terminal,
    width: terminal ? Deno.consoleSize().columns : 80,
    write: (text) => Deno.stderr.writeSync(new TextEncoder().encode(text)),
  });
  const { evaluation, finished } = await runSearchE1({ ...options, onProgress });
  if (!finished) {
    console.log(`Stopped; go on with: ${typedCommand(...again)}`);
    return undefined;
  }
  const started = performance.now();
  await writeReport(folder);
  const seconds = (performance.now() - started) / 1000;
  evaluation.seconds = { ...evaluation.seconds, report: seconds, total: evaluation.seconds.total! + seconds };
  await writeEvaluation(folder, evaluation);
  printResults(folder, evaluation);
  return evaluation;
}

/** Prints the table of a finished run and where its files are. */
export function printResults(folder: string, evaluation: Evaluation): void {
  console.log(`\n${textTable(evaluationRows(evaluation.rows))}\n`);
  for (const note of evaluationNotes(evaluation)) console.log(note);
  console.log(`\nRun folder: ${folder}; open ${runPaths(folder).report} in a browser`);
}
