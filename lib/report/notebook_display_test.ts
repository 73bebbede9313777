/** What is shown in a notebook; the notebooks themselves show it in the real kernel. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import type { Trajectory } from "../rollout/trajectory.ts";
import { plotBundle, progressText, tableBundle, transcriptBundle } from "./notebook_display.ts";
import { linePlot } from "./plots.ts";
import { tokenHeatmapHtml } from "./token_heatmap.ts";

const line = (count: number) =>
  linePlot(Array.from({ length: count }, (_, x) => ({ x, y: x })), { title: "A line", x: "x", y: "y" });

Deno.test("plotBundle() is a picture, text, and the spec while it is small", async () => {
  const small = await plotBundle(line(3));
  assertEquals(Object.keys(small), ["application/vnd.vegalite.v5+json", "image/svg+xml", "text/plain"]);
  assertEquals(small["text/plain"], "[plot: A line]");
  const large = await plotBundle(line(5000), "a long line");
  assertEquals(Object.keys(large), ["image/svg+xml", "text/plain"]);
  assertEquals(large["text/plain"], "a long line");
});

Deno.test("tableBundle() escapes cells and aligns figures to the right", () => {
  const bundle = tableBundle([["stage", "EM"], ["<sft>", "0.33"]]);
  assertStringIncludes(
    bundle["text/html"] as string,
    '<td style="text-align:left;padding:2px 10px">&lt;sft&gt;</td>',
  );
  assertStringIncludes(
    bundle["text/html"] as string,
    '<td style="text-align:right;padding:2px 10px">0.33</td>',
  );
  assertStringIncludes(bundle["text/plain"] as string, "<sft>  0.33");
});

Deno.test("transcriptBundle() marks who wrote what, and escapes what models write", () => {
  const pieces = ["Who?\n", "<search>Ada</search>", "Ada wrote."];
  const tokenizer = { decode: (ids: readonly number[]) => ids.map((id) => pieces[id]).join("") };
  const trajectory = {
    tokens: [0, 1, 2],
    mask: [0, 1, 0],
    promptLength: 1,
    turns: [],
    answer: null,
    rewards: {},
  };
  const bundle = transcriptBundle(trajectory as unknown as Trajectory, tokenizer);
  const html = bundle["text/html"] as string;
  assertStringIncludes(html, "&gt; &lt;search&gt;Ada&lt;/search&gt;");
  assertStringIncludes(html, "? Who?");
  assertStringIncludes(bundle["text/plain"], "< Ada wrote.");
});

Deno.test("progressText() keeps finished stages and warnings, says the time left meanwhile, and ends without any", () => {
  let time = 0;
  const show = progressText(() => time += 1000);
  const step = (stage: string, done: number, total: number) =>
    show({ kind: "step", stage, done, total, figures: { loss: 1 / done } });
  const bar = "█".repeat(20);
  assertEquals(step("sft", 1, 3).text, "sft ███████░░░░░░░░░░░░░ 1/3 · loss 1.000");
  assertEquals(step("sft", 2, 3), {
    text: "sft █████████████░░░░░░░ 2/3 · loss 0.500 · 1 s left",
    settled: false,
  });
  assertEquals(step("sft", 3, 3), { text: `sft ${bar} 3/3 · loss 0.333`, settled: true });
  assertEquals(show({ kind: "note", text: "sft: EM 0.3 in 12 s" }).settled, false);
  const evaluating = show({ kind: "step", stage: "evaluate real", done: 2, total: 9 });
  assertEquals(evaluating, { text: `sft ${bar} 3/3 · loss 0.333\nevaluate real 2/9`, settled: false });
  const evaluated = show({ kind: "step", stage: "evaluate real", done: 9, total: 9 });
  assertEquals(evaluated, { text: `sft ${bar} 3/3 · loss 0.333`, settled: true });
  show({ kind: "note", text: "Warning: entropy is near 0" });
  assertEquals(
    step("grpo-1", 1, 1).text,
    `sft ${bar} 3/3 · loss 0.333\nWarning: entropy is near 0\ngrpo-1 ${bar} 1/1 · loss 1.000`,
  );
});

Deno.test("tokenHeatmapHtml() is darker where the KL is larger, and grey where there is none", () => {
  const token = { author: "model" as const, teacher: [["Lima", 0.9]] as [string, number][], student: [] };
  const html = tokenHeatmapHtml({
    block: "<hint>",
    tokens: [
      { ...token, text: "a", kl: 0.1 },
      { ...token, text: "b<", kl: 1 },
      { ...token, text: "c", author: "environment", kl: null },
    ],
  });
  const strengths = [...html.matchAll(/rgba\(230,120,0,([\d.]+)\)[^>]*title="KL/g)].map((match) =>
    Number(match[1])
  );
  assert(strengths.length === 2 && strengths[1]! > strengths[0]!);
  assertStringIncludes(html, ">b&lt;</span>");
  assertStringIncludes(html, "&lt;hint&gt;");
  assertStringIncludes(html, '<span style="color:#777">c</span>');
  assertStringIncludes(html, "teacher: Lima 0.900");
});
