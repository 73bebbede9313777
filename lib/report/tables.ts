/** Tables of what a run measured, as plain text and as Markdown. @module */
import type { Evaluation, EvaluationRow } from "../eval/evaluation.ts";

/**
 * A table with columns as wide as their longest cell; the first column is left-aligned, the others right-aligned.
 *
 * @example
 * ```ts
 * import { textTable } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(textTable([["stage", "EM"], ["sft", ".166"]]), "stage    EM\nsft    .166");
 * ```
 */
export function textTable(rows: readonly (readonly string[])[]): string {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  return rows.map((row) =>
    row.map((cell, column) => column === 0 ? cell.padEnd(widths[0]!) : cell.padStart(widths[column]!)).join(
      "  ",
    )
      .trimEnd()
  ).join("\n");
}

/**
 * The rows as a Markdown table with columns as wide as their longest cell, as `deno fmt` writes them.
 *
 * @param align `text` aligns every column left, `figures` all but the first right.
 *
 * @example
 * ```ts
 * import { markdownTable } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(markdownTable([["stage", "EM"], ["sft", ".166"]]), "| stage |   EM |\n| ----- | ---: |\n| sft   | .166 |");
 * ```
 */
export function markdownTable(
  rows: readonly (readonly string[])[],
  align: "text" | "figures" = "figures",
): string {
  const cells = rows.map((row) => row.map((cell) => cell.replaceAll("|", "\\|")));
  const right = (column: number) => align === "figures" && column > 0;
  const widths = cells[0]!.map((_, column) =>
    Math.max(right(column) ? 2 : 3, ...cells.map((row) => row[column]!.length))
  );
  const line = (row: readonly string[]) =>
    `| ${
      row.map((cell, column) => right(column) ? cell.padStart(widths[column]!) : cell.padEnd(widths[column]!))
        .join(" | ")
    } |`;
  const rule = widths.map((width, column) => right(column) ? "-".repeat(width - 1) + ":" : "-".repeat(width));
  return [line(cells[0]!), line(rule), ...cells.slice(1).map(line)].join("\n");
}

/**
 * Prose broken into lines of at most 110 characters, as `deno fmt` breaks it.
 *
 * @example
 * ```ts
 * import { wrapped } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(wrapped("word ".repeat(30)).split("\n").length, 2);
 * ```
 */
export function wrapped(prose: string): string {
  const lines = [""];
  for (const word of prose.split(/\s+/)) {
    const line = lines.at(-1)!;
    if (line !== "" && line.length + 1 + word.length > 110) lines.push(word);
    else lines[lines.length - 1] = line === "" ? word : `${line} ${word}`;
  }
  return lines.join("\n");
}

/**
 * A share or mean with three decimals; `n/a` for what does not apply.
 *
 * @example
 * ```ts
 * import { fixed } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals([fixed(0.12345), fixed(NaN)], ["0.123", "n/a"]);
 * ```
 */
export function fixed(value: number | null | undefined, digits = 3): string {
  return value === null || value === undefined || !Number.isFinite(value) ? "n/a" : value.toFixed(digits);
}

/**
 * Rows of `evaluation.json` as table cells.
 *
 * @example
 * ```ts
 * import { evaluationRows } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * const row = {
 *   stage: "sft", set: "real", decoding: "greedy", n: 4, em: 0.5, em_se: 0.25, f1: 0.5, searches: 2, model_tokens: 20,
 *   valid: 1, unsupported: 0,
 * } as const;
 * assertEquals(evaluationRows([row])[1]!.slice(0, 3), ["sft · real · greedy", "4", "0.500"]);
 * ```
 */
export function evaluationRows(rows: readonly EvaluationRow[]): string[][] {
  const head = [
    "stage · set · decoding",
    "n",
    "EM",
    "± s.e.",
    "F1",
    "searches",
    "tokens",
    "valid",
    "unsupported",
  ];
  return [head, ...rows.map((row) => [`${row.stage} · ${row.set} · ${row.decoding}`, ...figures(row)])];
}

function figures(row: EvaluationRow): string[] {
  return [
    String(row.n),
    fixed(row.em),
    fixed(row.em_se),
    fixed(row.f1),
    fixed(row.searches, 2),
    fixed(row.model_tokens, 1),
    fixed(row.valid),
    fixed(row.unsupported),
  ];
}

/**
 * Lines on what frames the table: scripted bounds, recall probe, teachers, roll-backs, time.
 *
 * @example
 * ```ts
 * import { evaluationNotes } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * const evaluation = {
 *   rows: [], recall: { real: { n: 4, em: 0 } }, teacher: [], rolled_back: [], bounds: {}, seconds: { total: 60 },
 *   compute: { sft: 1000 }, engine: { name: "cpu", device: "x86_64 CPU", threads: 1, version: "tfjs 4.22.0" },
 * };
 * assertEquals(evaluationNotes(evaluation), [
 *   "Recall probe on real (search switched off, n = 4): EM 0.000",
 *   "Seconds: total 60.0",
 * ]);
 * ```
 */
export function evaluationNotes(evaluation: Evaluation): string[] {
  const { bounds, recall, teacher, rolled_back, seconds } = evaluation;
  return [
    ...Object.entries(bounds).map(([set, { naive, efficient }]) =>
      `Scripted policies on ${set}: naive EM ${fixed(naive.em)} with ${fixed(naive.searches, 2)} searches, ` +
      `efficient EM ${fixed(efficient.em)} with ${fixed(efficient.searches, 2)}`
    ),
    ...Object.entries(recall).map(([set, { n, em }]) =>
      `Recall probe on ${set} (search switched off, n = ${n}): EM ${fixed(em)}`
    ),
    ...teacher.map((row) =>
      `Teacher before ${row.stage} (n = ${row.n}): EM ${fixed(row.em)} with the block, ${
        fixed(row.plain_em)
      } without; ` +
      `searches ${fixed(row.searches, 2)} and ${fixed(row.plain_searches, 2)}` +
      (row.distilled ? "" : "; too weak, so nothing was distilled")
    ),
    ...rolled_back.map((stage) =>
      `${stage} lowered validation EM by more than ofsd.gate_margin and was rolled back`
    ),
    `Seconds: ${Object.entries(seconds).map(([name, value]) => `${name} ${fixed(value, 1)}`).join(", ")}`,
  ];
}
