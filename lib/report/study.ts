/** Several runs side by side: means over seeds, and paired differences, as a Markdown page. @module */
import type { Evaluation, EvaluationRow } from "../eval/evaluation.ts";
import { fixed, markdownTable, wrapped } from "./tables.ts";

/** One run of a study. */
export interface StudyRun {
  /** What was run: `search-e1`, `grpo-only`, … */
  arm: string;
  seed: number;
  folder: string;
  evaluation: Evaluation;
}

/**
 * Mean and standard deviation (n − 1) of a sample; the deviation of a single value is NaN.
 *
 * @example
 * ```ts
 * import { meanAndDeviation } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(meanAndDeviation([1, 2, 3]), { mean: 2, deviation: 1 });
 * ```
 */
export function meanAndDeviation(values: readonly number[]): { mean: number; deviation: number } {
  const mean = values.reduce((a, b) => a + b, 0) / values.length;
  const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  return { mean, deviation: Math.sqrt(squares / (values.length - 1)) };
}

/**
 * The page `docs/results.md`: means over seeds, differences paired by seed, and every run's own figures.
 *
 * @param command What regenerates the page.
 *
 * @example
 * ```ts
 * import { studyPage } from "@search-e1/kit";
 * import { assertStringIncludes } from "@std/assert";
 *
 * const row = {
 *   stage: "sft", set: "real", decoding: "greedy", n: 4, em: 0.5, em_se: 0.25, f1: 0.5, searches: 2, model_tokens: 20,
 *   valid: 1, unsupported: 0,
 * } as const;
 * const evaluation = {
 *   rows: [row], recall: { real: { n: 4, em: 0 } }, teacher: [], rolled_back: [], bounds: {}, seconds: { total: 60 },
 *   compute: { sft: 1000 }, engine: { name: "cpu", device: "x86_64 CPU", threads: 1, version: "tfjs 4.22.0" },
 * };
 * const runs = [1, 2].map((seed) => ({ arm: "search-e1", seed, folder: `runs/${seed}`, evaluation }));
 * assertStringIncludes(studyPage(runs, "deno task demo --seeds 1,2"), "0.500 ± 0.000");
 * ```
 */
export function studyPage(runs: readonly StudyRun[], command: string): string {
  const engines = [
    ...new Set(
      runs.map(({ evaluation: { engine } }) =>
        `${engine.name} ${engine.version} on ${engine.device}, ${engine.threads} threads`
      ),
    ),
  ];
  const seeds = [...new Set(runs.map(({ seed }) => seed))];
  return `# Results

${
    wrapped(
      `Engine: ${engines.join("; ")}. Seeds: ${
        seeds.join(", ")
      }. Mean ± standard deviation over seeds; a dash stands where ` +
        "there is one seed only. Written by:",
    )
  }

\`\`\`sh
${command}
\`\`\`

## Means

${markdownTable(meanRows(runs))}

## Paired differences

Within a seed, then mean ± standard deviation over seeds. "searches, relative" is (B − A) / A.

${markdownTable(pairedRows(runs))}

## Teacher before OFSD, recall probe, compute, time

${markdownTable(frameRows(runs))}

## Every run

${markdownTable(singleRows(runs))}
`;
}

function meanRows(runs: readonly StudyRun[]): string[][] {
  const groups = Map.groupBy(
    runs.flatMap((run) => run.evaluation.rows.map((row) => ({ run, row }))),
    ({ run, row }) => [run.arm, row.stage, row.set, row.decoding].join(" · "),
  );
  const columns = ["em", "searches", "model_tokens", "valid", "unsupported"] as const;
  return [
    ["arm · stage · set · decoding", "runs", "EM", "searches", "tokens", "valid", "unsupported"],
    ...[...groups].map(([name, items]) => [
      name,
      String(items.length),
      ...columns.map((column) => plusMinus(items.map(({ row }) => row[column]))),
    ]),
  ];
}

/** Each stage against the one before it, and each other arm's last stage against the first arm's. */
function pairedRows(runs: readonly StudyRun[]): string[][] {
  const out = [["A → B · set · decoding", "pairs", "EM", "searches", "searches, relative"]];
  const compare = (name: string, pairs: (readonly [EvaluationRow, EvaluationRow])[]) => {
    if (pairs.length === 0) return;
    out.push([
      name,
      String(pairs.length),
      plusMinus(pairs.map(([a, b]) => b.em - a.em)),
      plusMinus(pairs.map(([a, b]) => b.searches - a.searches)),
      plusMinus(pairs.map(([a, b]) => (b.searches - a.searches) / a.searches)),
    ]);
  };
  const arms = [...new Set(runs.map(({ arm }) => arm))];
  const kinds = [...new Set(runs[0]!.evaluation.rows.map(({ set, decoding }) => `${set} · ${decoding}`))];
  const rowOf = (run: StudyRun, stage: string, kind: string) =>
    run.evaluation.rows.find((row) => row.stage === stage && `${row.set} · ${row.decoding}` === kind);
  const paired = (a: StudyRun[], stageA: string, b: StudyRun[], stageB: string, kind: string) =>
    a.flatMap((runA) => {
      const runB = b.find(({ seed }) => seed === runA.seed);
      const rowA = rowOf(runA, stageA, kind);
      const rowB = runB && rowOf(runB, stageB, kind);
      return rowA && rowB ? [[rowA, rowB] as const] : [];
    });
  for (const kind of kinds) {
    for (const arm of arms) {
      const own = runs.filter((run) => run.arm === arm);
      const stages = stageNames(own[0]!);
      for (let i = 1; i < stages.length; i++) {
        const [before, after] = [stages[i - 1]!, stages[i]!];
        compare(`${arm}: ${before} → ${after} · ${kind}`, paired(own, before, own, after, kind));
      }
    }
    const main = runs.filter((run) => run.arm === arms[0]);
    for (const arm of arms.slice(1)) {
      const other = runs.filter((run) => run.arm === arm);
      const [last, otherLast] = [stageNames(main[0]!).at(-1)!, stageNames(other[0]!).at(-1)!];
      compare(
        `${arm} ${otherLast} → ${arms[0]} ${last} · ${kind}`,
        paired(other, otherLast, main, last, kind),
      );
    }
  }
  return out;
}

function frameRows(runs: readonly StudyRun[]): string[][] {
  return [
    [
      "arm · seed",
      "teacher EM with block",
      "without",
      "recall EM",
      "tokens (gen. + scored + 3 × trained)",
      "rolled back",
      "seconds",
    ],
    ...runs.map(({ arm, seed, evaluation: { teacher, recall, compute, rolled_back, seconds } }) => [
      `${arm} · ${seed}`,
      teacher.map((row) => fixed(row.em)).join(", ") || "–",
      teacher.map((row) => fixed(row.plain_em)).join(", ") || "–",
      Object.entries(recall).map(([set, { em }]) => `${set} ${fixed(em)}`).join(", ") || "–",
      String(Math.max(0, ...Object.values(compute))),
      rolled_back.join(", ") || "–",
      fixed(seconds.total, 0),
    ]),
  ];
}

function singleRows(runs: readonly StudyRun[]): string[][] {
  return [
    ["arm · seed · stage · set · decoding", "n", "EM", "searches", "tokens", "valid", "unsupported"],
    ...runs.flatMap(({ arm, seed, evaluation }) =>
      evaluation.rows.map((row) => [
        [arm, seed, row.stage, row.set, row.decoding].join(" · "),
        String(row.n),
        fixed(row.em),
        fixed(row.searches, 2),
        fixed(row.model_tokens, 1),
        fixed(row.valid),
        fixed(row.unsupported),
      ])
    ),
  ];
}

function stageNames(run: StudyRun): string[] {
  return [...new Set(run.evaluation.rows.map(({ stage }) => stage))];
}

function plusMinus(values: readonly number[]): string {
  const { mean, deviation } = meanAndDeviation(values);
  return values.length > 1 ? `${fixed(mean)} ± ${fixed(deviation)}` : `${fixed(mean)} –`;
}
