/** What all plots share: the shape of a spec, and how one becomes Vega or SVG. @module */
import * as vega from "vega";
import * as vegaLite from "vega-lite";
import { chartTheme, type Scheme } from "../theme.ts";

/** A vega-lite 6 specification. */
export type PlotSpec = vegaLite.TopLevelSpec;

/** A piece of a spec. The compiler of vega-lite checks it; its TypeScript types refuse most specs built from parts. */
export type Part = Record<string, unknown>;

/** Pixels of a plot's inside. */
export const width = 440;
const height = 230;

/**
 * A spec whose data stands in one place. All that is derived from it comes by transforms in `rest`, so that new values can
 * be put into a chart that is drawn already.
 */
export function plotSpec(title: string, values: readonly Part[], rest: Part): PlotSpec {
  return {
    $schema: "https://vega.github.io/schema/vega-lite/v6.json",
    title,
    width,
    height,
    data: { name: "values", values },
    ...rest,
  } as unknown as PlotSpec;
}

/** An encoding by a number. */
export function quantity(field: string, title: string | null, more: Part = {}): Part {
  return { field, type: "quantitative", title, ...more };
}

/** An encoding by a name, in the order in which names first occur, explained below the plot. */
export function names(field: string, title: string | null, more: Part = {}): Part {
  return {
    field,
    type: "nominal",
    title,
    sort: null,
    legend: { orient: "bottom", direction: "horizontal", columns: 4 },
    ...more,
  };
}

/** The same for lines: the legend shows them as they are drawn, whatever else has their colour. */
export function lineNames(field: string, title: string | null, explained = true): Part {
  const legend = {
    orient: "bottom",
    direction: "horizontal",
    columns: 4,
    symbolType: "stroke",
    symbolSize: 400,
    symbolOpacity: 1,
  };
  return names(field, title, { legend: explained ? legend : null });
}

/** Colour by the kind of stage, the same in every plot; the palette's first two colours are left to runs and series. */
export const kindColour: Part = {
  field: "kind",
  type: "nominal",
  scale: { domain: ["(first series)", "(second series)", "ofsd", "grpo", "(fifth series)", "sft"] },
  legend: null,
};

/** Tooltip lines: fields with the words before them; numbers have four significant digits. */
export function tooltip(fields: Readonly<Record<string, string>>, numbers: readonly string[]): Part[] {
  return Object.entries(fields).map(([field, title]) =>
    numbers.includes(field)
      ? { field, type: "quantitative", title, format: ".4~r" }
      : { field, type: "nominal", title }
  );
}

/** The Vega spec of a plot without the white, black and blue that vega-lite fixes in it: the theme decides. */
function compile(spec: PlotSpec): vega.Spec {
  const config = { background: undefined, padding: undefined, mark: { color: undefined } };
  const compiled = vegaLite.compile(spec, { config: config as unknown as vegaLite.Config }).spec;
  const black = (value: unknown) => (value as { value?: unknown } | null)?.value === "black";
  return JSON.parse(JSON.stringify(compiled, (_, value: unknown) => black(value) ? undefined : value));
}

/**
 * The compiled Vega spec of a plot, whose data set `values` is empty, and the values that go into it.
 *
 * @example
 * ```ts
 * import { barPlot, vegaSpec } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * const { values } = vegaSpec(barPlot([{ label: "a", value: 1 }], { title: "Counts", x: "what", y: "count" }));
 * assertEquals(values, [{ label: "a", value: 1, series: "" }]);
 * ```
 */
export function vegaSpec(spec: PlotSpec): { spec: vega.Spec; values: Record<string, unknown>[] } {
  const { values } = (spec as unknown as { data: { values: Record<string, unknown>[] } }).data;
  return { spec: compile({ ...spec, data: { name: "values", values: [] } } as PlotSpec), values };
}

/**
 * Renders a plot to SVG with its background, without a browser.
 *
 * @example
 * ```ts
 * import { barPlot, renderSvg } from "@search-e1/kit";
 * import { assert } from "@std/assert";
 *
 * const svg = await renderSvg(barPlot([{ label: "a", value: 1 }], { title: "Counts", x: "what", y: "count" }), "dark");
 * assert(svg.startsWith("<svg"));
 * ```
 */
export async function renderSvg(spec: PlotSpec, scheme: Scheme = "light"): Promise<string> {
  const view = new vega.View(vega.parse(compile(spec), chartTheme(scheme)), { renderer: "none" });
  try {
    // Vega writes 15 digits; a hundredth of a pixel is enough.
    return (await view.toSVG()).replace(
      / (?:d|transform)="[^"]*"/g,
      (attribute) => attribute.replace(/\d+\.\d{3,}(e-\d+)?/g, (digits) => String(+(+digits).toFixed(2))),
    );
  } finally {
    view.finalize();
  }
}
