/**
 * The look of every chart: legible sizes, colours that colour-blind people tell apart (after Okabe and Ito), light and
 * dark. Specs hold no colours; they name the ranges below.
 *
 * @module
 */
import type { Config } from "vega";

/** Which background charts are drawn on. */
export type Scheme = "light" | "dark";

/** The colours of one scheme. On its background, text has a contrast of at least 4.5:1 and marks of at least 3:1. */
interface Colours {
  background: string;
  text: string;
  line: string;
  grid: string;
  /** Runs and series. */
  category: string[];
  /** From few to many; text stays readable on both ends. */
  ordinal: [string, string];
}

const colours: Readonly<Record<Scheme, Colours>> = {
  light: {
    background: "#ffffff",
    text: "#222222",
    line: "#6e6e6e",
    grid: "#e3e3e3",
    category: ["#0072b2", "#d55e00", "#008060", "#a3457f", "#8a6d00", "#6e6e6e"],
    ordinal: ["#eaf3fa", "#5aa5d6"],
  },
  dark: {
    background: "#14181f",
    text: "#e7eaee",
    line: "#9aa4b2",
    grid: "#2c333d",
    category: ["#56b4e9", "#ff9e4a", "#2ecc9b", "#e59ac4", "#f0e442", "#a4adb8"],
    ordinal: ["#1a2330", "#2c6a99"],
  },
};

/**
 * Settings for Vega, and for vega-lite, that draw a plot for one background.
 *
 * @example
 * ```ts
 * import { chartTheme } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(chartTheme("light").background, "#ffffff");
 * ```
 */
export function chartTheme(scheme: Scheme): Config {
  const { background, text, line, grid, category, ordinal } = colours[scheme];
  const font = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif";
  const labels = { labelFont: font, labelFontSize: 11, labelColor: text };
  const titles = { titleFont: font, titleFontSize: 12, titleFontWeight: 400, titleColor: text };
  return {
    background,
    padding: 10,
    title: {
      anchor: "start",
      font,
      fontSize: 14,
      fontWeight: 600,
      color: text,
      offset: 12,
      subtitleFont: font,
      subtitleFontSize: 12,
      subtitleColor: text,
    },
    axis: { ...labels, ...titles, gridColor: grid, domainColor: line, tickColor: line, titlePadding: 8 },
    header: { ...labels, ...titles },
    legend: {
      ...labels,
      ...titles,
      columnPadding: 16,
      symbolStrokeWidth: 2,
      labelLimit: 200,
      symbolBaseFillColor: line,
    },
    style: {
      cell: { stroke: "transparent" },
      path: { stroke: line },
    },
    text: { font, fontSize: 11, fill: text },
    rule: { stroke: line },
    line: { strokeWidth: 2, strokeCap: "round", strokeJoin: "round" },
    range: { category, ordinal: { scheme: ordinal } },
  } as unknown as Config;
}
