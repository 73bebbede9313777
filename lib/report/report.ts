/** The files that tell people about a run: report.html, which holds all it shows, and the model card. @module */
import { writeWhole } from "../base/files.ts";
import { InputError } from "../base/input_error.ts";
import type { Evaluation } from "../eval/evaluation.ts";
import { readEvaluation, runPaths } from "../run/run_folder.ts";
import { pageHtml } from "./page_html.ts";
import { runPageData } from "./run_page.ts";
import { evaluationNotes, evaluationRows, markdownTable } from "./tables.ts";

/**
 * Writes `report.html` and, of a finished run, the model card `README.md` into a run folder, from what stands in it; an
 * unfinished run gets what there is so far.
 *
 * @param options.compare Folders of runs whose curves and figures stand beside this one's.
 * @throws {InputError} when one of the folders holds no run.
 *
 * @example
 * ```ts
 * import { metricsLine, writeReport } from "@search-e1/kit";
 * import { assertStringIncludes } from "@std/assert";
 *
 * const folder = await Deno.makeTempDir();
 * await Deno.writeTextFile(`${folder}/config.toml`, 'title = "My run"');
 * await Deno.writeTextFile(`${folder}/metrics.jsonl`, metricsLine({ step: 1, stage: "sft", loss: 2 }));
 * await writeReport(folder);
 * assertStringIncludes(await Deno.readTextFile(`${folder}/report.html`), "<title>My run</title>");
 * await Deno.remove(folder, { recursive: true });
 * ```
 */
export async function writeReport(
  folder: string,
  options: { compare?: readonly string[] } = {},
): Promise<void> {
  const paths = runPaths(folder);
  const data = await runPageData(folder, options);
  if (data.state === "new") {
    throw new InputError(`Cannot report on ${folder}: it holds no run; name a run folder, such as runs/demo`);
  }
  await writeWhole(paths.report, await pageHtml(data, { live: false }));
  if (data.state === "finished") {
    await writeWhole(paths.readme, modelCard(data.title, await readEvaluation(folder)));
  }
}

function modelCard(title: string, evaluation: Evaluation): string {
  return `---
library_name: transformers
tags: [search-agent, grpo, self-distillation]
---

# ${title}

A search agent trained by Search-E1 (arXiv 2605.22511) with the Search-E1 kit. The checkpoints are in Hugging Face layout;
\`best.json\` names the one with the best validation result. It writes \`<search>query</search>\` and
\`<answer>…</answer>\`, and reads documents between \`<information>\` and \`</information>\`.

${markdownTable(evaluationRows(evaluation.rows))}

${evaluationNotes(evaluation).map((note) => `- ${note}`).join("\n")}

Settings are in config.toml, machine and versions in environment.json.
`;
}
