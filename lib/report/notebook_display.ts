/**
 * Displays for the Deno kernel of Jupyter: plots that are interactive where the front end can draw them and pictures
 * everywhere else, tables, transcripts, and progress in place. Outside a notebook the plain text is printed.
 *
 * @module
 */
import type { Tokenizer } from "../model/policy.ts";
import type { Trajectory } from "../rollout/trajectory.ts";
import type { ProgressEvent } from "../run/progress.ts";
import { duration } from "../run/progress.ts";
import { type PlotSpec, renderSvg } from "./plots.ts";
import { textTable } from "./tables.ts";
import { chartTheme } from "./theme.ts";
import { type Author, escapeHtml, stretches, transcriptText } from "./transcript.ts";

/** A display in one place: MIME types and contents. */
type Bundle = Record<string, unknown> & { "text/plain": string };

/** Interactive specs above this many characters are left out: the picture is shown. */
const largestSpec = 100_000;

/** Shows a bundle; with a `place`, the display of that name is replaced. False when there is no notebook. */
async function display(bundle: Bundle, place?: { id: string; update: boolean }): Promise<boolean> {
  try {
    const where = place && { display_id: place.id, update: place.update };
    await Deno.jupyter.display(bundle, { raw: true, ...where });
    return true;
  } catch {
    return false; // Without a kernel Deno.jupyter is missing, throws when it is read, or has nobody to talk to.
  }
}

async function show(bundle: Bundle): Promise<void> {
  if (!await display(bundle)) console.log(bundle["text/plain"]);
}

let plots = 0;

/**
 * Shows a plot.
 *
 * @param text What stands in its place where no picture can be shown; the plot's title when left out.
 *
 * @example
 * ```ts
 * import { linePlot, showPlot } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * const printed: string[] = [];
 * console.log = (text) => printed.push(text); // where plain text goes outside a notebook
 * await showPlot(linePlot([{ x: 0, y: 1 }, { x: 1, y: 2 }], { title: "A line", x: "steps", y: "reward" }));
 * assertEquals(printed, ["[plot: A line]"]);
 * ```
 */
export async function showPlot(spec: PlotSpec, text?: string): Promise<void> {
  await show(await plotBundle(spec, text));
}

/** A plot as an interactive spec, where it is small, as a picture, and as text. */
export async function plotBundle(spec: PlotSpec, text = titleOf(spec)): Promise<Bundle> {
  // vega-lite 6 reads as 5 to the front ends of today.
  const interactive = {
    ...spec,
    $schema: "https://vega.github.io/schema/vega-lite/v5.json",
    config: chartTheme("light"),
  };
  const small = JSON.stringify(interactive).length <= largestSpec;
  return {
    ...small && { "application/vnd.vegalite.v5+json": interactive },
    "image/svg+xml": await renderSvg(spec),
    "text/plain": text,
  };
}

/**
 * A plot that is drawn anew in the same place whenever it is given a new spec.
 *
 * @example
 * ```ts
 * import { linePlot, livePlot } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * const printed: string[] = [];
 * console.log = (text) => printed.push(text); // where plain text goes outside a notebook
 * const show = livePlot();
 * const points = [{ x: 0, y: 1 }];
 * await show(linePlot(points, { title: "Reward", x: "steps", y: "reward" }));
 * points.push({ x: 1, y: 2 });
 * await show(linePlot(points, { title: "Reward", x: "steps", y: "reward" }));
 * assertEquals(printed, ["[plot: Reward]"]); // once
 * ```
 */
export function livePlot(): (spec: PlotSpec) => Promise<void> {
  const id = `search-e1-plot-${plots++}`;
  let update = false;
  return async (spec) => {
    if (!await display(await plotBundle(spec), { id, update }) && !update) console.log(titleOf(spec));
    update = true;
  };
}

function titleOf(spec: PlotSpec): string {
  return `[plot: ${(spec as { title?: unknown }).title ?? "untitled"}]`;
}

/**
 * Shows HTML.
 *
 * @param text What stands in its place where HTML cannot be shown.
 *
 * @example
 * ```ts
 * import { showHtml } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * const printed: string[] = [];
 * console.log = (text) => printed.push(text); // where plain text goes outside a notebook
 * await showHtml("<b>Japan</b>", "Japan");
 * assertEquals(printed, ["Japan"]);
 * ```
 */
export async function showHtml(html: string, text: string): Promise<void> {
  await show({ "text/html": html, "text/plain": text });
}

/**
 * Shows a table.
 *
 * @param rows The first is the head.
 *
 * @example
 * ```ts
 * import { showTable } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * const printed: string[] = [];
 * console.log = (text) => printed.push(text); // where plain text goes outside a notebook
 * await showTable([["stage", "EM"], ["sft", "0.33"]]);
 * assertEquals(printed, ["stage    EM\nsft    0.33"]);
 * ```
 */
export async function showTable(rows: readonly (readonly string[])[]): Promise<void> {
  await show(tableBundle(rows));
}

/** A table as HTML, columns of figures to the right, and as text. */
export function tableBundle(rows: readonly (readonly string[])[]): Bundle {
  const isFigure = (column: number) =>
    rows.slice(1).every((row) => /^[−+\-.\d][\d.,±×%\s]*$|^n\/a$|^–$/.test(row[column]!));
  const align = rows[0]!.map((_, column) => isFigure(column) ? "right" : "left");
  const cells = (row: readonly string[], tag: string) =>
    row.map((cell, column) =>
      `<${tag} style="text-align:${align[column]};padding:2px 10px">${escapeHtml(cell)}</${tag}>`
    ).join("");
  const html = `<table><thead><tr>${cells(rows[0]!, "th")}</tr></thead><tbody>${
    rows.slice(1).map((row) => `<tr>${cells(row, "td")}</tr>`).join("")
  }</tbody></table>`;
  return { "text/html": html, "text/plain": textTable(rows) };
}

const styles: Readonly<Record<Author, string>> = {
  prompt: "font-weight:600",
  model: "background:#e2f2e6;color:#0b4d22",
  environment: "color:#666",
};
const marks: Readonly<Record<Author, string>> = { prompt: "?", model: "&gt;", environment: "&lt;" };

/**
 * Shows a trajectory, coloured and marked by who wrote what: `?` the prompt, `>` the model, `<` the environment.
 *
 * @example
 * ```ts
 * import { showTranscript, type Trajectory } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * const printed: string[] = [];
 * console.log = (text) => printed.push(text); // where plain text goes outside a notebook
 * const pieces = ["Who?", "<answer>Ada</answer>"];
 * const tokenizer = { decode: (ids: readonly number[]) => ids.map((id) => pieces[id]).join("") };
 * const trajectory = { tokens: [0, 1], mask: [0, 1], promptLength: 1, turns: [], answer: "Ada", rewards: {} };
 * await showTranscript(trajectory as unknown as Trajectory, tokenizer);
 * assertEquals(printed[0]!.split("\n").slice(0, 2), ["? Who?", "> <answer>Ada</answer>"]);
 * ```
 */
export async function showTranscript(
  trajectory: Trajectory,
  tokenizer: Pick<Tokenizer, "decode">,
): Promise<void> {
  await show(transcriptBundle(trajectory, tokenizer));
}

/** A trajectory as HTML that carries its style, and as text. */
export function transcriptBundle(trajectory: Trajectory, tokenizer: Pick<Tokenizer, "decode">): Bundle {
  const text = transcriptText(trajectory, tokenizer, { colour: false });
  const lines = stretches(trajectory, tokenizer).flatMap(({ author, text }) =>
    text.split("\n").filter((line) => line.trim() !== "").map((line) =>
      `<div style="${styles[author]}">${marks[author]} ${escapeHtml(line)}</div>`
    )
  );
  const summary = `<div>${escapeHtml(text.slice(text.lastIndexOf("\n") + 1))}</div>`;
  const html =
    `<div style="font-family:ui-monospace,monospace;font-size:13px;background:#fff;color:#222;padding:.5em">${
      lines.join("")
    }${summary}</div>`;
  return { "text/html": html, "text/plain": text };
}

let progresses = 0;

/**
 * A function that shows a run's progress in one place of a notebook. What is left there at the end is the same for every
 * run: stages with their steps and last figures, and warnings, but no times.
 *
 * @example
 * ```ts
 * import { notebookProgress } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * const printed: string[] = [];
 * console.log = (text) => printed.push(text); // where plain text goes outside a notebook
 * const show = notebookProgress();
 * show({ kind: "step", stage: "sft", done: 2, total: 2, figures: { loss: 0.5 } });
 * await new Promise((shown) => setTimeout(shown)); // displays follow one another
 * assertEquals(printed, ["sft ████████████████████ 2/2 · loss 0.500"]);
 * ```
 */
export function notebookProgress(): (event: ProgressEvent) => void {
  const id = `search-e1-progress-${progresses++}`;
  const textOf = progressText();
  let shown = Promise.resolve();
  let [drawnAt, update, printed] = [-Infinity, false, ""];
  return (event) => {
    const { text, settled } = textOf(event);
    if (text === "" || (!settled && performance.now() - drawnAt < 500)) return;
    drawnAt = performance.now();
    shown = shown.then(async () => {
      const html = `<pre style="margin:0">${escapeHtml(text)}</pre>`;
      const there = await display({ "text/html": html, "text/plain": text }, { id, update });
      if (!there && settled && text !== printed) {
        console.log(text.slice(text.lastIndexOf("\n") + 1));
        printed = text;
      }
      update = true;
    });
  };
}

/**
 * What is to be shown after each event: settled lines of finished stages and warnings, then the stage under way with its
 * time left. `settled` says that the text will not be replaced by a fuller one of the same stage.
 */
export function progressText(
  now: () => number = () => performance.now(),
): (event: ProgressEvent) => { text: string; settled: boolean } {
  const lines = new Map<string, string>();
  let [stage, startedAt, startedDone] = ["", 0, 0];
  return (event) => {
    const settled = () => [...lines.values()].join("\n");
    if (event.kind === "note") {
      const isWarning = event.text.startsWith("Warning");
      if (isWarning) lines.set(event.text, event.text);
      return { text: settled(), settled: isWarning };
    }
    const { done, total, figures } = event;
    // Evaluations come again after every stage: they are shown while they last.
    if (!figures) {
      const ended = done >= total;
      return {
        text: ended ? settled() : `${settled()}\n${event.stage} ${done}/${total}`.trim(),
        settled: ended,
      };
    }
    if (event.stage !== stage) [stage, startedAt, startedDone] = [event.stage, now(), done];
    const figure = ["loss", "reward", "env/searches_mean", "ofsd/kl"].flatMap((name) =>
      Number.isFinite(figures[name]) ? [` · ${name} ${figures[name]!.toFixed(3)}`] : []
    ).join("");
    const filled = Math.round(20 * Math.min(1, done / total));
    lines.set(stage, `${stage} ${"█".repeat(filled)}${"░".repeat(20 - filled)} ${done}/${total}${figure}`);
    if (done >= total) return { text: settled(), settled: true };
    const left = done > startedDone
      ? ` · ${duration((now() - startedAt) / 1000 / (done - startedDone) * (total - done))} left`
      : "";
    return { text: settled() + left, settled: false };
  };
}
