/** Lines and bars of any numbers, for formulas and measurements. @module */
import {
  lineNames,
  names,
  type Part,
  type PlotSpec,
  plotSpec,
  quantity,
  tooltip,
  width,
} from "./plot_spec.ts";

/** A point of a general line plot. */
export interface LinePoint {
  x: number;
  y: number;
  series?: string;
}

/**
 * Lines through points, one a series; points that are not finite are left out.
 *
 * @param options.x Title of the axis, with its unit.
 * @param options.series Title of the legend.
 * @param options.zero Whether the axes begin at 0.
 * @param options.points Whether points are marked on the lines.
 * @param options.rules Vertical rules with a label.
 *
 * @example
 * ```ts
 * import { linePlot } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(linePlot([{ x: 0, y: 1 }], { title: "Decay", x: "steps", y: "rate" }).title, "Decay");
 * ```
 */
export function linePlot(
  points: readonly LinePoint[],
  options: {
    title: string;
    x: string;
    y: string;
    series?: string;
    zero?: boolean;
    points?: boolean;
    rules?: readonly { at: number; label: string }[];
  },
): PlotSpec {
  const values = points.filter(({ x, y }) => Number.isFinite(x) && Number.isFinite(y)).map((
    { x, y, series = "" },
  ) => ({ x, y, series }));
  const scale = { zero: options.zero ?? false, nice: options.zero ?? false };
  const several = values.some(({ series }) => series !== "");
  const by = lineNames("series", options.series ?? null, several);
  return plotSpec(options.title, values, {
    layer: [
      ...(options.rules ?? []).flatMap(({ at, label }): Part[] =>
        [
          { type: "rule", strokeDash: [3, 3], aria: false },
          { type: "text", baseline: "bottom", y: -3, text: label, aria: false },
        ].map((mark) => ({
          transform: [{ aggregate: [{ op: "count", as: "points" }] }, { calculate: String(at), as: "at" }],
          mark,
          encoding: { x: { field: "at", type: "quantitative" } },
        }))
      ),
      {
        encoding: {
          x: quantity("x", options.x, { scale, axis: { grid: false } }),
          y: quantity("y", options.y, { scale: { zero: options.zero ?? false } }),
          color: by,
        },
        layer: [
          { mark: { type: "line", aria: false }, encoding: several ? { strokeDash: by } : {} },
          {
            mark: { type: "point", filled: true, size: 32, opacity: options.points ? 1 : 0, aria: false },
            encoding: {
              tooltip: tooltip(
                { ...several && { series: options.series ?? "series" }, x: options.x, y: options.y },
                ["x", "y"],
              ),
            },
          },
        ],
      },
    ],
  });
}

/**
 * Bars by label, side by side for several series; labels that find no room below them stand on the left of lying bars.
 *
 * @param options.series Title of the legend.
 *
 * @example
 * ```ts
 * import { barPlot } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(barPlot([{ label: "a", value: 1 }], { title: "Counts", x: "what", y: "count" }).title, "Counts");
 * ```
 */
export function barPlot(
  bars: readonly { label: string; value: number; series?: string }[],
  options: { title: string; x: string; y: string; series?: string },
): PlotSpec {
  const values = bars.filter(({ value }) => Number.isFinite(value)).map((
    { label, value, series = "" },
  ) => ({ label, value, series }));
  const several = values.some(({ series }) => series !== "");
  const labels = [...new Set(values.map(({ label }) => label))];
  const lying = Math.max(0, ...labels.map(({ length }) => length)) * 7 > width / labels.length;
  const [along, up] = lying ? ["y", "x"] : ["x", "y"];
  return plotSpec(options.title, values, {
    ...lying && { height: { step: several ? 40 : 26, for: "position" } },
    mark: { type: "bar" },
    encoding: {
      [along!]: {
        field: "label",
        type: "nominal",
        title: options.x,
        sort: null,
        axis: { labelAngle: 0, labelLimit: 200 },
      },
      [up!]: quantity("value", options.y),
      ...several && { [`${along}Offset`]: { field: "series", type: "nominal", sort: null } },
      color: names("series", options.series ?? null, several ? {} : { legend: null }),
      tooltip: tooltip(
        { label: options.x, ...several && { series: options.series ?? "series" }, value: options.y },
        ["value"],
      ),
    },
  });
}
