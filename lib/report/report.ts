/** One self-contained HTML page of a run: results, curves, settings, machine, and a few transcripts. @module */
import { exists, writeWhole } from "../base/files.ts";
import type { Evaluation } from "../eval/evaluation.ts";
import { loadTokenizer } from "../model/tokenizer.ts";
import type { Trajectory } from "../rollout/trajectory.ts";
import { checkpointNames } from "../run/checkpoint.ts";
import { loadConfig } from "../run/config.ts";
import { type MetricsRow, readMetrics } from "../run/metrics.ts";
import { runPaths } from "../run/run_folder.ts";
import { learningCurve, renderSvg, searchesAgainstExactMatch } from "./plots.ts";
import { evaluationNotes, evaluationRows, markdownTable } from "./tables.ts";
import { escapeHtml, transcriptHtml } from "./transcript.ts";

/** The curves that the report shows, where a run has them. */
const curves = [
  "loss",
  "reward",
  "env/searches_mean",
  "completions/mean_length",
  "frac_reward_zero_std",
  "entropy",
  "kl",
  "env/valid_action_ratio",
  "ofsd/kl",
  "grad_norm",
  "sampling/sampling_logp_difference/max",
];

/** Questions shown after every stage. */
const transcribedQuestions = 3;

const style =
  `body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:#222}
table{border-collapse:collapse}td,th{padding:.15rem .6rem;text-align:right;border-bottom:1px solid #ddd}
td:first-child,th:first-child{text-align:left}pre{background:#f6f6f6;padding:.6rem;overflow:auto;white-space:pre-wrap}
.curves{display:flex;flex-wrap:wrap;gap:1rem}.prompt{font-weight:600}.model{color:#0a6b2d}.environment{color:#777}`;

/**
 * Writes `report.html` and the model card `README.md` into a run folder, from what stands in it; an unfinished run gets
 * what there is so far.
 *
 * @throws {InputError} when the folder holds no run.
 *
 * @example
 * ```ts
 * import { metricsLine, writeReport } from "@search-e1/kit";
 * import { assertStringIncludes } from "@std/assert";
 *
 * const folder = await Deno.makeTempDir();
 * await Deno.writeTextFile(`${folder}/config.toml`, 'title = "My run"');
 * await Deno.writeTextFile(`${folder}/environment.json`, "{}");
 * await Deno.writeTextFile(`${folder}/metrics.jsonl`, metricsLine({ step: 1, stage: "sft", loss: 2 }));
 * await writeReport(folder);
 * assertStringIncludes(await Deno.readTextFile(`${folder}/report.html`), "<h1>My run</h1>");
 * await Deno.remove(folder, { recursive: true });
 * ```
 */
export async function writeReport(folder: string): Promise<void> {
  const paths = runPaths(folder);
  const config = await loadConfig(paths.config);
  const rows = await readMetrics(paths.metrics);
  const evaluation: Evaluation | undefined = await exists(paths.evaluation)
    ? JSON.parse(await Deno.readTextFile(paths.evaluation))
    : undefined;
  const title = config.title || "A Search-E1 run";
  const sections = [
    evaluation ? await resultsSection(evaluation) : "<p>The run is unfinished.</p>",
    await curvesSection(rows),
    evaluation ? await transcriptsSection(folder, evaluation) : "",
    textSection("Settings", await Deno.readTextFile(paths.config)),
    textSection("Machine and versions", await Deno.readTextFile(paths.environment)),
  ];
  await writeWhole(
    paths.report,
    `<!doctype html><html lang="en"><meta charset="utf-8"><title>${
      escapeHtml(title)
    }</title><style>${style}</style>
<h1>${escapeHtml(title)}</h1>
${sections.join("\n")}
</html>
`,
  );
  if (evaluation) await writeWhole(paths.readme, modelCard(title, evaluation));
}

async function resultsSection(evaluation: Evaluation): Promise<string> {
  const [head, ...body] = evaluationRows(evaluation.rows);
  const cells = (row: string[], tag: string) =>
    row.map((cell) => `<${tag}>${escapeHtml(cell)}</${tag}>`).join("");
  return `<h2>Results on held-out questions</h2>
<table><tr>${cells(head!, "th")}</tr>${body.map((row) => `<tr>${cells(row, "td")}</tr>`).join("")}</table>
<ul>${evaluationNotes(evaluation).map((note) => `<li>${escapeHtml(note)}</li>`).join("")}</ul>
${await renderSvg(searchesAgainstExactMatch(evaluation.rows))}`;
}

async function curvesSection(rows: readonly MetricsRow[]): Promise<string> {
  const present = curves.filter((metric) => rows.some((row) => Number.isFinite(row[metric])));
  const svgs: string[] = [];
  for (const metric of present) svgs.push(await renderSvg(learningCurve(rows, metric)));
  return `<h2>Learning curves</h2><div class="curves">${svgs.join("")}</div>`;
}

/** The same held-out questions after every stage, greedy. */
async function transcriptsSection(folder: string, { rows }: Evaluation): Promise<string> {
  const newest = (await checkpointNames(folder)).at(-1);
  const set = rows.at(-1)?.set;
  if (!newest || !set) return "";
  const read = (name: string) => Deno.readTextFile(`${folder}/checkpoints/${newest}/${name}`);
  const tokenizer = loadTokenizer({
    "tokenizer.json": await read("tokenizer.json"),
    "tokenizer_config.json": await read("tokenizer_config.json"),
  });
  const byStage: [stage: string, lines: string[]][] = [];
  for (const stage of new Set(rows.map(({ stage }) => stage))) {
    const text = await Deno.readTextFile(runPaths(folder).stageRollouts(stage, set));
    byStage.push([stage, text.split("\n", transcribedQuestions)]);
  }
  const questions = Array.from(
    { length: transcribedQuestions },
    (_, question) =>
      byStage.filter(([, lines]) => lines[question]).map(([stage, lines]) =>
        `<h3>${escapeHtml(stage)}</h3>${
          transcriptHtml(JSON.parse(lines[question]!) as Trajectory, tokenizer)
        }`
      ).join("\n"),
  );
  return `<h2>Held-out questions after each stage (${escapeHtml(set)}, greedy)</h2>
<p><span class="prompt">prompt</span> · <span class="model">the model wrote</span> ·
<span class="environment">the environment wrote</span></p>
${questions.join("<hr>")}`;
}

function textSection(title: string, text: string): string {
  return `<h2>${title}</h2><pre>${escapeHtml(text)}</pre>`;
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
