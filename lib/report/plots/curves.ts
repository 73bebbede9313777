/** Curves of metrics over training steps, with the stages marked. @module */
import type { MetricsRow } from "../../run/metrics.ts";
import { kindColour, lineNames, type Part, type PlotSpec, plotSpec, quantity, tooltip } from "./plot_spec.ts";

/** A run's metrics; runs of the same name are seeds of one arm. */
export interface PlottedRun {
  name: string;
  rows: readonly MetricsRow[];
}

/** Points that a stage has at most in one curve. */
const mostPoints = 300;

/** Runs of more points are lines without dots; of each stage, about so many points answer to the pointer. */
const mostDots = 40;

const kindOf = (stage: string) => stage.split("-")[0]!;

/** The rows that have `metrics.value`; long stages are averaged in equal parts, which are the same in all runs. */
function curveRows(
  runs: readonly PlottedRun[],
  metrics: Readonly<Record<string, string>>,
  stages?: string,
): Part[] {
  const found = runs.map(({ rows }) =>
    Map.groupBy(
      rows.filter((row) => (!stages || kindOf(row.stage) === stages) && Number.isFinite(row[metrics.value!])),
      ({ stage }) => stage,
    )
  );
  const partOf = (stage: string) =>
    Math.ceil(Math.max(...found.map((stages) => stages.get(stage)?.length ?? 0)) / mostPoints);
  return found.flatMap((stages, seed) => {
    let before = 0;
    return [...stages].flatMap(([stage, rows]) => {
      const size = partOf(stage);
      const points = Array.from({ length: Math.ceil(rows.length / size) }, (_, i) => {
        const part = rows.slice(i * size, (i + 1) * size);
        const means = Object.entries(metrics).map(([field, metric]) => [
          field,
          part.reduce((sum, row) => sum + Number(row[metric]), 0) / part.length,
        ]);
        return {
          run: runs[seed]!.name,
          seed,
          stage,
          kind: kindOf(stage),
          at: before + i * size + part.length,
          step: part.at(-1)!.step,
          ...Object.fromEntries(means),
        };
      });
      before += rows.length;
      return points;
    });
  });
}

/** A rule before each stage but the first, and the stages' names above the plot where there is room for them. */
const stageMarks: Part = {
  transform: [
    {
      aggregate: [{ op: "min", field: "at", as: "begin" }, { op: "max", field: "at", as: "end" }],
      groupby: ["run", "seed", "stage"],
    },
    {
      aggregate: [
        { op: "min", field: "begin", as: "begin" },
        { op: "max", field: "begin", as: "latest" },
        { op: "max", field: "end", as: "end" },
      ],
      groupby: ["stage"],
    },
    // Arms may go through their stages at different steps: what they do not share is not marked.
    { filter: "datum.begin === datum.latest" },
    { window: [{ op: "rank", as: "order" }], sort: [{ field: "begin" }] },
    {
      joinaggregate: [
        { op: "min", field: "begin", as: "first" },
        { op: "max", field: "end", as: "last" },
        { op: "count", as: "stages" },
      ],
    },
    { filter: "datum.stages > 1" },
    { calculate: "datum.order > 1 ? datum.begin - 0.5 : datum.begin", as: "begin" },
  ],
  encoding: { x: { field: "begin", type: "quantitative" } },
  layer: [
    {
      transform: [{ filter: "datum.order > 1" }],
      mark: { type: "rule", strokeDash: [3, 3], aria: false },
    },
    {
      transform: [{ filter: "datum.end - datum.begin >= 0.09 * (datum.last - datum.first)" }],
      mark: { type: "text", align: "left", baseline: "bottom", y: -3, aria: false },
      encoding: { text: { field: "stage" } },
    },
  ],
};

/** Lines with a band from `low` to `high`, which `band` computes from the mean and deviation over seeds. */
function curvePlot(
  title: string,
  values: readonly Part[],
  x: string,
  y: string,
  aggregate: readonly Part[],
  band: readonly Part[],
  words: Readonly<Record<string, string>>,
): PlotSpec {
  const several = new Set(values.map(({ run }) => run)).size > 1;
  const by = several ? lineNames("run", null) : kindColour;
  const groupby = ["run", "stage"];
  const detail = groupby.map((field) => ({ field, type: "nominal" }));
  return plotSpec(title, values, {
    layer: [
      stageMarks,
      {
        transform: [
          {
            aggregate: [
              { op: "mean", field: "value", as: "value" },
              { op: "max", field: "step", as: "step" },
              { op: "count", as: "seeds" },
              ...aggregate,
            ],
            groupby: [...groupby, "kind", "at"],
          },
          ...band,
          { joinaggregate: [{ op: "count", as: "points" }], groupby },
          { joinaggregate: [{ op: "count", as: "all" }], groupby: ["run"] },
          { window: [{ op: "row_number", as: "place" }], groupby, sort: [{ field: "at" }] },
        ],
        encoding: {
          x: quantity("at", x, {
            scale: { zero: false, nice: false, padding: 8 },
            axis: { tickMinStep: 1, grid: false },
          }),
          y: quantity("value", y, { scale: { zero: false } }),
          color: by,
          detail,
        },
        layer: [
          {
            transform: [{ filter: "datum.high > datum.low" }],
            mark: { type: "area", opacity: 0.2, aria: false },
            encoding: {
              y: { field: "low", type: "quantitative" },
              y2: { field: "high" },
            },
          },
          {
            mark: { type: "line", aria: false },
            encoding: several ? { strokeDash: by } : {},
          },
          {
            transform: [{ filter: `datum.place % ceil(datum.points / ${mostDots}) === 0` }],
            mark: { type: "point", filled: true, size: 32, aria: false },
            encoding: {
              opacity: { condition: { test: `datum.all <= ${mostDots}`, value: 1 }, value: 0 },
              tooltip: tooltip(
                { run: "run", stage: "stage", step: "step", value: y, ...words },
                ["value", "step", ...Object.keys(words)],
              ),
            },
          },
        ],
      },
    ],
  });
}

/**
 * A metric over the steps that have it: coloured by stage for one name, by name for several. Runs of one name are drawn as
 * their mean in a band of ± one standard deviation (n − 1). The axis counts the steps that have the metric, since stages
 * differ a hundredfold in length; tooltips give the step of the run. A stage of more than 300 steps is averaged in equal
 * parts of 2, 3, … steps. Values that are not finite are left out.
 *
 * @param metric A name in `metrics.jsonl`, such as `reward`.
 * @param options.stages Only stages of this kind.
 * @param options.unit Title of the y axis; the metric's name when left out.
 *
 * @example
 * ```ts
 * import { learningCurve } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * const rows = [{ step: 1, stage: "sft", loss: NaN }, { step: 2, stage: "sft", loss: 1 }];
 * const { data } = learningCurve([{ name: "mine", rows }], "loss") as { data: { values: unknown[] } };
 * assertEquals(data.values.length, 1);
 * ```
 */
export function learningCurve(
  runs: readonly PlottedRun[],
  metric: string,
  options: { stages?: "sft" | "grpo" | "ofsd"; title?: string; unit?: string } = {},
): PlotSpec {
  const values = curveRows(runs, { value: metric }, options.stages);
  const kinds = new Set(values.map(({ kind }) => kind as string));
  const kind = options.stages ?? (kinds.size === 1 ? [...kinds][0]! : undefined);
  return curvePlot(
    options.title ?? metric,
    values,
    kind ? `${kind.toUpperCase()} steps` : "training steps",
    options.unit ?? metric,
    [{ op: "stdev", field: "value", as: "deviation" }],
    [
      { calculate: "datum.seeds > 1 ? datum.value - datum.deviation : datum.value", as: "low" },
      { calculate: "datum.seeds > 1 ? datum.value + datum.deviation : datum.value", as: "high" },
    ],
    new Set(runs.map(({ name }) => name)).size < runs.length
      ? { deviation: "± s.d. over seeds", seeds: "seeds" }
      : {},
  );
}

/**
 * Tokens that the model wrote a roll-out: the mean, in a band from the shortest to the longest; runs of one name are
 * averaged.
 *
 * @example
 * ```ts
 * import { lengthCurve } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(lengthCurve([]).title, "Length of roll-outs");
 * ```
 */
export function lengthCurve(runs: readonly PlottedRun[]): PlotSpec {
  const values = curveRows(runs, {
    value: "completions/mean_length",
    low: "completions/min_length",
    high: "completions/max_length",
  });
  return curvePlot(
    "Length of roll-outs",
    values,
    "GRPO steps",
    "tokens a roll-out",
    ["low", "high"].map((field) => ({ op: "mean", field, as: field })),
    [],
    { low: "shortest", high: "longest" },
  );
}
