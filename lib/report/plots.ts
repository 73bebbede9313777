/** Plots of a run as vega-lite specs, and their rendering to SVG without a browser. @module */
import * as vega from "vega";
import * as vegaLite from "vega-lite";
import type { EvaluationRow } from "../eval/evaluation.ts";
import type { MetricsRow } from "../run/metrics.ts";

/** A vega-lite 6 specification. */
export type PlotSpec = vegaLite.TopLevelSpec;

const schema = "https://vega.github.io/schema/vega-lite/v6.json";

/**
 * One metric over the steps of a run, coloured by stage; steps at which it does not apply are left out.
 *
 * @param metric A name in `metrics.jsonl`, such as `reward`.
 *
 * @example
 * ```ts
 * import { learningCurve } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(learningCurve([{ step: 1, stage: "sft", loss: NaN }], "loss").data, { values: [] });
 * ```
 */
export function learningCurve(rows: readonly MetricsRow[], metric: string): PlotSpec {
  const values = rows
    .filter((row) => typeof row[metric] === "number" && Number.isFinite(row[metric]))
    .map(({ step, stage, [metric]: value }) => ({ step, stage, value: value as number }));
  return {
    $schema: schema,
    title: metric,
    width: 300,
    height: 150,
    data: { values },
    mark: { type: "line", point: values.length <= 60 },
    encoding: {
      x: { field: "step", type: "quantitative", title: "step", scale: { zero: false } },
      y: { field: "value", type: "quantitative", title: null, scale: { zero: false } },
      color: { field: "stage", type: "nominal", sort: null, title: "stage" },
    },
  };
}

/**
 * Exact match against searches, one path through the stages for every set and decoding: up and to the left is better.
 *
 * @example
 * ```ts
 * import { searchesAgainstExactMatch } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(searchesAgainstExactMatch([]).title, "Exact match against searches, stage by stage");
 * ```
 */
export function searchesAgainstExactMatch(rows: readonly EvaluationRow[]): PlotSpec {
  const values = rows.map((row, order) => ({
    order,
    stage: row.stage,
    path: `${row.set}, ${row.decoding}`,
    em: row.em,
    searches: row.searches,
  }));
  return {
    $schema: schema,
    title: "Exact match against searches, stage by stage",
    width: 480,
    height: 300,
    data: { values },
    encoding: {
      x: { field: "searches", type: "quantitative", title: "searches a question", scale: { zero: false } },
      y: { field: "em", type: "quantitative", title: "exact match", scale: { domain: [0, 1] } },
    },
    layer: [
      {
        mark: { type: "line", point: true },
        encoding: {
          order: { field: "order", type: "quantitative" },
          color: { field: "path", type: "nominal", title: "set, decoding" },
        },
      },
      {
        mark: { type: "text", dy: -9, fontSize: 9 },
        encoding: { text: { field: "stage", type: "nominal" } },
      },
    ],
  };
}

/**
 * Renders a spec to SVG.
 *
 * @example
 * ```ts
 * import { learningCurve, renderSvg } from "@search-e1/kit";
 * import { assert } from "@std/assert";
 *
 * const svg = await renderSvg(learningCurve([{ step: 1, stage: "sft", loss: 2 }, { step: 2, stage: "sft", loss: 1 }], "loss"));
 * assert(svg.startsWith("<svg"));
 * ```
 */
export async function renderSvg(spec: PlotSpec): Promise<string> {
  const view = new vega.View(vega.parse(vegaLite.compile(spec).spec), { renderer: "none" });
  try {
    return await view.toSVG();
  } finally {
    view.finalize();
  }
}
