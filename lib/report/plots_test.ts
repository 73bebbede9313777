import { assert, assertAlmostEquals, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import * as vega from "vega";
import * as vegaLite from "vega-lite";
import type { EvaluationRow } from "../eval/evaluation.ts";
import type { MetricsRow } from "../run/metrics.ts";
import {
  barPlot,
  klByPosition,
  learningCurve,
  lengthCurve,
  linePlot,
  type PlotSpec,
  renderSvg,
  rewardHistogram,
  searchCounts,
  searchesAgainstExactMatch,
  teacherAdvantage,
  vegaSpec,
} from "./plots.ts";
import { chartTheme } from "./theme.ts";

const stages = [["sft", 700], ["grpo-1", 4], ["ofsd-1", 20], ["grpo-2", 3]] as const;

function metricsRows(shift = 0): MetricsRow[] {
  let step = 0;
  return stages.flatMap(([stage, steps]) =>
    Array.from({ length: steps }, (_, i): MetricsRow => {
      step++;
      if (!stage.startsWith("grpo")) return { step, stage, loss: 2 / (i + 1) + shift };
      return {
        step,
        stage,
        loss: 0,
        reward: 0.2 * i + shift,
        "completions/mean_length": 10,
        "completions/min_length": 4,
        "completions/max_length": 20,
      };
    })
  );
}

const evaluationRows = stages.flatMap(([stage], i) =>
  ["alternate", "real"].map((set) =>
    ({ stage, set, decoding: "greedy", n: 9, em: 0.3 + 0.2 * i, searches: 3 - 0.4 * i }) as EvaluationRow
  )
);

type Values = Record<string, number | string>[];
const valuesOf = (spec: PlotSpec) => vegaSpec(spec).values as Values;

/** The SVG of a compiled plot with these values put in afterwards, as the page does. */
async function drawn(spec: PlotSpec, values: Record<string, unknown>[]): Promise<string> {
  const view = new vega.View(vega.parse(vegaSpec(spec).spec, chartTheme("light")), { renderer: "none" });
  await view.data("values", structuredClone(values)).runAsync();
  const svg = await view.toSVG();
  view.finalize();
  return svg;
}
const shapes = (svg: string) => svg.match(/<path [^>]*d="M/g)?.length ?? 0;

const run = { name: "mine", rows: metricsRows() };
const seeds = [0, 0.1, 0.2].flatMap((shift) => [
  { name: "mine", rows: metricsRows(shift) },
  { name: "control", rows: metricsRows(2 * shift) },
]);
const plots: Record<string, PlotSpec> = {
  "a learning curve": learningCurve([run], "loss"),
  "a learning curve of seeds": learningCurve(seeds, "reward", { stages: "grpo", unit: "reward" }),
  "a path of one set": searchesAgainstExactMatch([{ name: "mine", rows: evaluationRows }], { set: "real" }),
  "paths of sets": searchesAgainstExactMatch([{ name: "mine", rows: evaluationRows }]),
  "paths of seeds": searchesAgainstExactMatch(
    ["mine", "mine", "control"].map((name) => ({ name, rows: evaluationRows })),
    { set: "real" },
  ),
  "a reward histogram": rewardHistogram([{ name: "first", rewards: [0, 1, 1] }, {
    name: "last",
    rewards: [1],
  }]),
  "lengths": lengthCurve([run]),
  "KL by position": klByPosition([{ name: "before", kl: [[null, 1, 2], [0.5]] }]),
  "the teacher": teacherAdvantage([{
    stage: "ofsd-1",
    n: 9,
    em: 0.9,
    searches: 1.5,
    plain_em: 0.95,
    plain_searches: 2.4,
    distilled: true,
  }]),
  "search counts": searchCounts([{ name: "sft", searches: [1, 2, 2] }, { name: "grpo-1", searches: [1] }]),
  "lines": linePlot([{ x: 0, y: 1 }, { x: 1, y: 2 }], {
    title: "Lines",
    x: "x",
    y: "y",
    rules: [{ at: 0.5, label: "half" }],
  }),
  "bars": barPlot([1, 2, 3].map((value) => ({ label: `${value}`, value, series: "s" })), {
    title: "Bars",
    x: "x",
    y: "y",
    series: "kind",
  }),
  "lying bars": barPlot([1, 2, 3].map((value) => ({ label: "long ".repeat(5) + value, value })), {
    title: "Bars",
    x: "x",
    y: "y",
  }),
};

for (const [name, spec] of Object.entries(plots)) {
  Deno.test(`renderSvg() draws ${name} on both backgrounds, in the theme's colours alone`, async () => {
    const { title } = spec as { title: string };
    for (const scheme of ["light", "dark"] as const) {
      const svg = await renderSvg(spec, scheme);
      assertMatch(svg, /^<svg [^>]*viewBox/);
      assertStringIncludes(svg, title);
      assert(svg.length < 60_000, `${svg.length} characters`);
      const theme = JSON.stringify(chartTheme(scheme));
      assertMatch(svg, new RegExp(`<rect [^>]*fill="${chartTheme(scheme).background}"`));
      for (const [, colour] of svg.matchAll(/(?:fill|stroke)="(#\w+|black|white)"/g)) {
        // Vega mixes the shades of search counts.
        if (name !== "search counts") assertStringIncludes(theme, colour!);
      }
      assert(!/\bNaN\b/.test(svg), "a coordinate is no number");
    }
  });

  Deno.test(`vegaSpec() of ${name} draws the values that are put in`, async () => {
    const { values } = vegaSpec(spec);
    assert(values.length > 0);
    assert(shapes(await drawn(spec, values)) > shapes(await drawn(spec, [])), "values change nothing");
  });

  Deno.test(`chartTheme() is a config of vega-lite that draws ${name}`, async () => {
    const { spec: compiled } = vegaLite.compile({ ...spec, config: chartTheme("light") } as PlotSpec);
    const view = new vega.View(vega.parse(compiled), { renderer: "none" });
    const colours = (svg: string) =>
      new Set([...svg.matchAll(/<path [^>]*fill="(#\w{6})"/g)].map(([, c]) => c));
    assertEquals(colours(await view.toSVG()), colours(await renderSvg(spec)));
    view.finalize();
  });
}

Deno.test("learningCurve() leaves out what is not finite, and other stages", () => {
  const rows: MetricsRow[] = [
    { step: 1, stage: "sft", reward: 3 },
    { step: 2, stage: "grpo-1", reward: NaN },
    { step: 3, stage: "grpo-1", reward: 0.5 },
  ];
  const values = valuesOf(learningCurve([{ name: "mine", rows }], "reward", { stages: "grpo" }));
  assertEquals(values.map(({ step, value, at }) => [step, value, at]), [[3, 0.5, 1]]);
});

Deno.test("learningCurve() averages long stages in parts, the same ones in all runs", () => {
  const unfinished = { name: "mine", rows: metricsRows().slice(0, 100) };
  const values = valuesOf(learningCurve([run, unfinished], "loss", { stages: "sft" }));
  const [first, second] = [0, 1].map((seed) => values.filter((value) => value.seed === seed));
  assertEquals(first!.length, 234); // 700 steps, three a part
  assertAlmostEquals(first![0]!.value as number, (2 + 1 + 2 / 3) / 3, 1e-12);
  assertEquals(first!.at(-1)!.step, 700);
  assertEquals(second!.slice(0, 33).map(({ at }) => at), first!.slice(0, 33).map(({ at }) => at));
});

Deno.test("learningCurve() marks stages that appear while it stands", async () => {
  const spec = learningCurve([run], "reward", { stages: "grpo" });
  const { values } = vegaSpec(spec);
  const first = values.filter(({ stage }) => stage === "grpo-1");
  assert(!(await drawn(spec, first)).includes(">grpo-2<"));
  assertStringIncludes(await drawn(spec, values), ">grpo-2<");
});

Deno.test("learningCurve() draws seeds as a mean with a band of their deviation", async () => {
  const rows = (shift: number): MetricsRow[] =>
    [1, 2].map((step) => ({ step, stage: "grpo-1", reward: step + shift }));
  const spec = learningCurve([-1, 0, 1].map((shift) => ({ name: "mine", rows: rows(shift) })), "reward");
  const compiled = vegaSpec(spec).spec;
  const view = new vega.View(vega.parse(compiled), { renderer: "none" });
  await view.data("values", vegaSpec(spec).values).runAsync();
  const bands = compiled.data!.flatMap(({ name }) => view.data(name) as Values).filter(({ low }) => low);
  const seen = bands.map(({ at, value, low, high }) => `${at}: ${low} ${value} ${high}`);
  assertEquals([...new Set(seen)], ["2: 1 2 3"]);
  view.finalize();
});

Deno.test("searchesAgainstExactMatch() takes the set and decoding asked for", () => {
  const sampled = { ...evaluationRows[0]!, decoding: "sampled" as const };
  const spec = searchesAgainstExactMatch([{ name: "mine", rows: [...evaluationRows, sampled] }], {
    set: "real",
  });
  assertEquals(valuesOf(spec).map(({ stage }) => stage), stages.map(([stage]) => stage));
});

Deno.test("rewardHistogram() counts equal rewards, and leaves out what is not finite", () => {
  const values = valuesOf(rewardHistogram([{ name: "a", rewards: [0, 1, 1, NaN] }]));
  assertEquals(values.map(({ reward, rollouts }) => [reward, rollouts]), [[0, 1], [1, 2]]);
});

Deno.test("klByPosition() counts the tokens that the model wrote, with their standard error", () => {
  const values = valuesOf(klByPosition([{ name: "a", kl: [[null, 1, null, 2], [3]] }]));
  assertEquals(values.map(({ position, kl, se, trajectories }) => [position, kl, se, trajectories]), [
    [1, 2, 1, 2],
    [2, 2, 0, 1],
  ]);
});

Deno.test("chartTheme() has text and marks that stand out from their background", () => {
  const luminance = (hex: string) => {
    const [r, g, b] = [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16) / 255)
      .map((c) => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4) as [number, number, number];
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  for (const scheme of ["light", "dark"] as const) {
    const { background, title, range } = chartTheme(scheme) as {
      background: string;
      title: { color: string };
      range: { category: string[]; ordinal: { scheme: string[] } };
    };
    const contrast = (colour: string, ground = background) => {
      const [a, b] = [luminance(colour), luminance(ground)].sort((x, y) => y - x) as [number, number];
      return (a + 0.05) / (b + 0.05);
    };
    // WCAG 1.4.3 for text, also on the bars of search counts; 1.4.11 for graphical objects.
    for (const ground of [background, ...range.ordinal.scheme]) {
      assert(contrast(title.color, ground) >= 4.5, `text on ${ground}`);
    }
    for (const colour of range.category) assert(contrast(colour) >= 3, `${colour} on ${background}`);
  }
});
