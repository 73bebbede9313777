/**
 * Plots of runs as vega-lite specs, plain functions of what was measured, and their rendering to SVG without a browser.
 * Colours and fonts come from theme.ts.
 *
 * @module
 */
export * from "./plots/curves.ts";
export * from "./plots/evaluation_plots.ts";
export * from "./plots/general_plots.ts";
export { type PlotSpec, renderSvg, vegaSpec } from "./plots/plot_spec.ts";
export * from "./plots/rollout_plots.ts";
