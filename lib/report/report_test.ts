import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { makeRun } from "../../tests/made_run.ts";
import { exists } from "../base/files.ts";
import { InputError } from "../base/input_error.ts";
import type { Evaluation } from "../eval/evaluation.ts";
import type { Trajectory } from "../rollout/trajectory.ts";
import { runPaths } from "../run/run_folder.ts";
import { configReference } from "./config_reference.ts";
import { pageHtml, pageScripts } from "./page_html.ts";
import { writeReport } from "./report.ts";
import { runPageData } from "./run_page.ts";
import { studyPage } from "./study.ts";
import { evaluationNotes, evaluationRows, markdownTable, textTable, wrapped } from "./tables.ts";
import { stretches, transcriptText } from "./transcript.ts";

const measured = { n: 300, em_se: 0.02, f1: 0.5, model_tokens: 30, valid: 1, unsupported: 0 };

function evaluationWith(grpoSearches: number, ofsdSearches: number): Evaluation {
  return {
    rows: [
      { ...measured, stage: "grpo-1", set: "real", decoding: "greedy", em: 0.9, searches: grpoSearches },
      { ...measured, stage: "ofsd-1", set: "real", decoding: "greedy", em: 0.88, searches: ofsdSearches },
    ],
    recall: { real: { n: 300, em: 0.01 } },
    teacher: [{
      stage: "ofsd-1",
      n: 40,
      em: 0.8,
      searches: 1.6,
      plain_em: 0.82,
      plain_searches: 2.4,
      distilled: true,
    }],
    rolled_back: [],
    bounds: { real: { naive: { em: 1, searches: 2.3 }, efficient: { em: 1, searches: 1.6 } } },
    seconds: { sft: 100, total: 200 },
    compute: { "grpo-1": 1000, "ofsd-1": 1500 },
    engine: { name: "cpu", device: "CPU", threads: 1, version: "4.22.0" },
  };
}

/** A trajectory whose tokens are the code points of its text. */
function trajectoryOf(prompt: string, model: string, environment: string): Trajectory {
  const text = prompt + model + environment;
  return {
    questionId: "q",
    member: 0,
    tokens: [...text].map((character) => character.codePointAt(0)!),
    promptLength: prompt.length,
    mask: [...text].map((_, i) => Number(i >= prompt.length && i < prompt.length + model.length)),
    logprobs: [],
    turns: [{
      kind: "search",
      span: [prompt.length, prompt.length + model.length],
      content: "x",
      documents: [],
    }],
    answer: null,
    stop: "budget",
    truncatedTokens: 0,
    droppedTokens: 0,
    reward: 0,
    rewards: { exact_match: 0 },
    correct: false,
  };
}

const tokenizer = { decode: (ids: readonly number[]) => String.fromCodePoint(...ids) };

Deno.test("stretches() splits at every change of author and loses nothing", () => {
  const trajectory = trajectoryOf("Q?\n", "<search>x</search>", "\n<information></information>\n");
  const parts = stretches(trajectory, tokenizer);
  assertEquals(parts.map(({ author }) => author), ["prompt", "model", "environment"]);
  assertEquals(parts.map(({ text }) => text).join(""), tokenizer.decode(trajectory.tokens));
});

Deno.test("transcriptText() is readable without colour and says the same with it", () => {
  const trajectory = trajectoryOf("Q?\n", "<search>x</search>", "\n<information></information>\n");
  const plain = transcriptText(trajectory, tokenizer, { colour: false });
  assertEquals(
    plain,
    "? Q?\n> <search>x</search>\n< <information></information>\n= no answer, wrong; 1 searches, 18 tokens by the model",
  );
  // deno-lint-ignore no-control-regex
  assertEquals(transcriptText(trajectory, tokenizer, { colour: true }).replace(/\x1b\[\d+m/g, ""), plain);
});

Deno.test("writeReport() writes one page that needs no other file, and the model card", async () => {
  const folder = await Deno.makeTempDir();
  await makeRun(folder);
  await writeReport(folder);
  const { report, readme } = runPaths(folder);
  const html = await Deno.readTextFile(report);
  assertStringIncludes(html, "<title>Made run</title>");
  assertStringIncludes(html, "connect-src 'none'");
  assertStringIncludes(html, "<td>grpo-2 · real · greedy</td>");
  // What a model writes ends no script: two of JSON, Vega, and the page's own.
  const scripts = [...html.matchAll(/<script([^>]*)>([^]*?)<\/script>/g)];
  assertEquals(html.match(/<\/script/gi)!.length, 3 + pageScripts.length);
  assertEquals(scripts.length, 3 + pageScripts.length);
  const data = scripts.find(([, attributes]) => attributes!.includes('id="data"'))![2]!;
  assertEquals(JSON.parse(data), JSON.parse(JSON.stringify(await runPageData(folder))));
  const themes = scripts.find(([, attributes]) => attributes!.includes('id="themes"'))![2]!;
  assertEquals(Object.keys(JSON.parse(themes)), ["light", "dark"]);
  const page = html.replace(/<script[^]*?<\/script>/g, "");
  assertEquals(page.match(/\b(src|href)=|@import|url\(/g), null);
  assertStringIncludes(await Deno.readTextFile(readme), "# Made run");
  await Deno.remove(folder, { recursive: true });
});

Deno.test("writeReport() reports on an unfinished run without a model card, and refuses a folder without a run", async () => {
  const folder = await Deno.makeTempDir();
  await makeRun(folder, { stagesDone: 1 });
  await writeReport(folder);
  const { report, readme } = runPaths(folder);
  assertEquals([await exists(report), await exists(readme)], [true, false]);
  await Deno.remove(folder, { recursive: true });
  await assertRejects(() => writeReport(folder), Error, `Cannot report on ${folder}: it holds no run`);
});

Deno.test("pageHtml() allows its own scripts by their hashes and no others", async () => {
  const html = await pageHtml(undefined, { live: true });
  assertStringIncludes(html, "connect-src 'self'");
  assert(!html.includes('id="data"'));
  const code = [...html.matchAll(/<script(?: type="module")?>([^]*?)<\/script>/g)].map(([, text]) => text!);
  assertEquals(code.length, 1 + pageScripts.length);
  const policy = html.match(/script-src ([^;]+);/)![1]!.split(" ");
  const hashes = await Promise.all(code.map(async (text) => {
    const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
    return `'sha256-${new Uint8Array(digest).toBase64()}'`;
  }));
  assertEquals(policy, ["'unsafe-eval'", ...hashes]);
  for (const text of code.slice(1)) assert(!/^\s*import\b/m.test(text), "a module script imports");
});

Deno.test("evaluationRows() and evaluationNotes() say what was measured", () => {
  const evaluation = evaluationWith(2.4, 1.6);
  const text = textTable(evaluationRows(evaluation.rows));
  assertStringIncludes(text, "ofsd-1 · real · greedy  300  0.880");
  const notes = evaluationNotes(evaluation).join("\n");
  assertStringIncludes(notes, "naive EM 1.000 with 2.30 searches");
  assertStringIncludes(notes, "Recall probe on real (search switched off, n = 300): EM 0.010");
});

Deno.test("studyPage() pairs arms by seed", () => {
  const page = studyPage([
    { arm: "search-e1", seed: 1, folder: "a", evaluation: evaluationWith(2.4, 1.6) },
    { arm: "search-e1", seed: 2, folder: "b", evaluation: evaluationWith(2.2, 1.8) },
    { arm: "grpo-only", seed: 1, folder: "c", evaluation: evaluationWith(2.4, 2.6) },
  ], "deno task demo --seeds 1,2");
  // Searches fell by .8 and .4: mean −.6, standard deviation .283.
  assert(
    /search-e1: grpo-1 → ofsd-1 · real · greedy +\| +2 \| +-0.020 ± 0.000 \| +-0.600 ± 0.283/.test(page),
    page,
  );
  assert(/grpo-only ofsd-1 → search-e1 ofsd-1 · real · greedy +\| +1 \|/.test(page), page);
});

Deno.test("markdownTable() keeps a bar in a cell, wrapped() breaks at 110", () => {
  assertStringIncludes(markdownTable([["a", "b"], ["x|y", "1"]]), "x\\|y");
  assert(wrapped("word ".repeat(100)).split("\n").every((line) => line.length <= 110));
});

Deno.test("configReference() is what docs/config.md holds", async () => {
  const page = await Deno.readTextFile(new URL("../../docs/config.md", import.meta.url));
  assertEquals(page, configReference(), "docs/config.md is out of date; run deno task docs");
});

Deno.test("writeReport() names the file and row of a recording that is cut off", async () => {
  const folder = await Deno.makeTempDir();
  await makeRun(folder);
  const path = runPaths(folder).stageRollouts("grpo-1", "real");
  const rows = (await Deno.readTextFile(path)).trim().split("\n");
  rows[1] = rows[1]!.slice(0, -9);
  await Deno.writeTextFile(path, rows.join("\n"));
  await assertRejects(() => writeReport(folder), InputError, `Cannot parse ${path} row 2: it is cut off`);
  await Deno.remove(folder, { recursive: true });
});
