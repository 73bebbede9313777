/** Plots of what was measured on held-out questions. @module */
import type { EvaluationRow, TeacherRow } from "../../eval/evaluation.ts";
import {
  kindColour,
  lineNames,
  names,
  type Part,
  type PlotSpec,
  plotSpec,
  quantity,
  tooltip,
} from "./plot_spec.ts";

/** Where the name of the n-th stage stands beside its point; stages that end up close together have different sides. */
const sides: readonly Part[] = [
  { align: "left", dx: 9 },
  { align: "center", dy: -12 },
  { align: "center", dy: 13 },
  { align: "right", dx: -9 },
];

/**
 * Exact match against searches as a path through the stages: up and to the left is better. Runs of one name are seeds of
 * one arm: their mean, with whiskers of ± one standard deviation (n − 1).
 *
 * @param options.set Only this held-out set; every set has a path of its own otherwise.
 *
 * @example
 * ```ts
 * import { searchesAgainstExactMatch } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(searchesAgainstExactMatch([{ name: "mine", rows: [] }]).title, "Exact match against searches, stage by stage");
 * ```
 */
export function searchesAgainstExactMatch(
  runs: readonly { name: string; rows: readonly EvaluationRow[] }[],
  { set, decoding = "greedy" }: { set?: string; decoding?: "greedy" | "sampled" } = {},
): PlotSpec {
  const measured = runs.flatMap(({ name, rows }) =>
    [...Map.groupBy(
      rows.filter((row) => row.decoding === decoding && (set === undefined || row.set === set)),
      (row) => row.set,
    )].flatMap(([set, rows]) => rows.map((row, order) => ({ name, set, order, row })))
  );
  const severalNames = new Set(runs.map(({ name }) => name)).size > 1;
  const severalSets = new Set(measured.map(({ set }) => set)).size > 1;
  const several = severalNames || severalSets;
  const values = measured.map(({ name, set, order, row }) => ({
    path: [...severalNames ? [name] : [], ...severalSets || !severalNames ? [set] : []].join(" · "),
    order,
    stage: row.stage,
    kind: row.stage.split("-")[0]!,
    em: row.em,
    searches: row.searches,
    n: row.n,
  }));
  const path = lineNames("path", null);
  const whiskers = (field: string, channel: string): Part => ({
    transform: [
      { filter: "datum.seeds > 1" },
      { calculate: `datum.${field} - datum.${field}_sd`, as: "low" },
      { calculate: `datum.${field} + datum.${field}_sd`, as: "high" },
    ],
    mark: { type: "rule", aria: false },
    encoding: {
      [channel]: { field: "low", type: "quantitative" },
      [`${channel}2`]: { field: "high" },
      ...several && { color: path },
    },
  });
  return plotSpec("Exact match against searches, stage by stage", values, {
    transform: [{
      aggregate: [
        { op: "mean", field: "em", as: "em" },
        { op: "stdev", field: "em", as: "em_sd" },
        { op: "mean", field: "searches", as: "searches" },
        { op: "stdev", field: "searches", as: "searches_sd" },
        { op: "min", field: "order", as: "order" },
        { op: "sum", field: "n", as: "n" },
        { op: "count", as: "seeds" },
      ],
      groupby: ["path", "stage", "kind"],
    }],
    encoding: {
      x: quantity("searches", "searches a question", { scale: { zero: false, padding: 40 } }),
      y: quantity("em", "exact match, share", { scale: { zero: false, padding: 16 } }),
    },
    layer: [
      {
        mark: { type: "line", style: "path", aria: false },
        encoding: {
          order: { field: "order", type: "quantitative" },
          ...several && { color: path, strokeDash: path },
        },
      },
      whiskers("em", "y"),
      whiskers("searches", "x"),
      {
        mark: { type: "point", filled: true, size: 90, opacity: 1 },
        encoding: {
          color: several ? path : kindColour,
          ...several && {
            shape: names("stage", "stage", { legend: { orient: "right" } }),
          },
          tooltip: tooltip(
            {
              path: "of",
              stage: "stage",
              em: "exact match",
              searches: "searches",
              n: "questions",
              seeds: "runs",
            },
            ["em", "searches", "n", "seeds"],
          ),
        },
      },
      ...several ? [] : sides.map((side, i) => ({
        transform: [{ filter: `datum.order % ${sides.length} === ${i}` }],
        mark: { type: "text", baseline: "middle", aria: false, ...side },
        encoding: { text: { field: "stage" } },
      })),
    ],
  });
}

/**
 * EM and searches of the teacher with and without the privileged block, before each OFSD stage.
 *
 * @example
 * ```ts
 * import { teacherAdvantage } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * const row = { stage: "ofsd-1", n: 9, em: 0.9, searches: 1.5, plain_em: 0.9, plain_searches: 2.4, distilled: true };
 * const { data } = teacherAdvantage([row]) as { data: { values: unknown[] } };
 * assertEquals(data.values.length, 4);
 * ```
 */
export function teacherAdvantage(rows: readonly TeacherRow[]): PlotSpec {
  const values = rows.flatMap(({ stage, n, em, searches, plain_em, plain_searches, distilled }) => {
    const shared = { stage: distilled ? stage : `${stage} (not distilled)`, n };
    return [
      { ...shared, measure: "exact match", context: "with the block", value: em },
      { ...shared, measure: "exact match", context: "without it", value: plain_em },
      { ...shared, measure: "searches a question", context: "with the block", value: searches },
      { ...shared, measure: "searches a question", context: "without it", value: plain_searches },
    ];
  });
  return plotSpec("The teacher with and without the privileged block", values, {
    facet: {
      column: {
        field: "measure",
        type: "nominal",
        title: null,
        header: { labelAnchor: "start", labelFontSize: 12, labelFontWeight: "normal" },
      },
    },
    spec: {
      width: 170,
      height: { step: 20 },
      encoding: {
        y: { field: "stage", type: "nominal", title: null, sort: null, axis: { labelLimit: 200 } },
        yOffset: { field: "context", type: "nominal", sort: null },
        x: quantity("value", null, { axis: { tickCount: 4 } }),
      },
      layer: [
        {
          mark: { type: "bar" },
          encoding: {
            color: names("context", null),
            tooltip: tooltip(
              { stage: "stage", measure: "measure", context: "teacher", value: "value", n: "questions" },
              ["value", "n"],
            ),
          },
        },
        {
          mark: { type: "text", align: "left", dx: 4, baseline: "middle", aria: false },
          encoding: { text: { field: "value", type: "quantitative", format: ".2f" } },
        },
      ],
    },
    resolve: { scale: { x: "independent" } },
  });
}

/**
 * How many of the questions took how many searches, a bar a stage.
 *
 * @example
 * ```ts
 * import { searchCounts } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(searchCounts([{ name: "grpo-1", searches: [1, 2] }]).title, "Searches a question");
 * ```
 */
export function searchCounts(series: readonly { name: string; searches: readonly number[] }[]): PlotSpec {
  const values = series.flatMap(({ name, searches }) =>
    [...Map.groupBy(searches, (count) => count)].map(([count, { length }]) => ({
      name,
      searches: count,
      questions: length,
    }))
  );
  return plotSpec("Searches a question", values, {
    height: { step: 34 },
    transform: [
      { joinaggregate: [{ op: "sum", field: "questions", as: "all" }], groupby: ["name"] },
      { calculate: "datum.questions / datum.all", as: "share" },
      {
        stack: "share",
        groupby: ["name"],
        sort: [{ field: "searches" }],
        offset: "zero",
        as: ["from", "to"],
      },
      { calculate: "(datum.from + datum.to) / 2", as: "middle" },
    ],
    encoding: { y: { field: "name", type: "nominal", title: null, sort: null } },
    layer: [
      {
        mark: { type: "bar" },
        encoding: {
          x: quantity("from", "share of questions", { scale: { domain: [0, 1] } }),
          x2: { field: "to" },
          color: {
            field: "searches",
            type: "ordinal",
            title: "searches",
            legend: { orient: "bottom", direction: "horizontal", titleOrient: "left" },
          },
          tooltip: tooltip(
            { name: "of", searches: "searches", share: "share", questions: "questions" },
            ["share"],
          ),
        },
      },
      {
        transform: [{ filter: "datum.share >= 0.04" }],
        mark: { type: "text", baseline: "middle", aria: false },
        encoding: { x: { field: "middle", type: "quantitative" }, text: { field: "searches" } },
      },
    ],
  });
}
