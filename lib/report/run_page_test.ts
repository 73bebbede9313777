import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { attack, madeStages, madeTokenizer, makeRun } from "../../tests/made_run.ts";
import { runPaths } from "../run/run_folder.ts";
import { runPageData } from "./run_page.ts";
import { FileCache } from "./run_record.ts";
import { tokenTexts } from "./run_transcripts.ts";

async function withFolder(test: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await test(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("runPageData() holds all of a finished run", () =>
  withFolder(async (parent) => {
    const folder = `${parent}/made`;
    await makeRun(folder);
    const data = await runPageData(folder);
    assertEquals([data.title, data.name, data.state, data.step], ["Made run", "made", "finished", 7]);
    assertEquals(data.stages.map(({ steps, state }) => [steps, state]), [
      [3, "done"],
      [2, "done"],
      [1, "done"],
      [1, "done"],
    ]);
    assertEquals(data.headline.map(({ value }) => value), ["0.600 → 0.800", "2.50 → 1.50", "step_000000"]);
    assertEquals(data.headline[1]!.note, "grpo-1 → grpo-2; −40 % searches");
    assertEquals(data.tables.map(({ rows }) => rows.length), [1 + madeStages.length]);
    assertStringIncludes(data.notes.join("\n"), "Engine: cpu on x86_64 CPU, 1 threads, tfjs 4.22.0");
    assertEquals(data.warnings.length, 3, data.warnings.join("\n"));
    assertStringIncludes(data.warnings[0]!, "grpo-2, step 7: kl is -1");
    assertStringIncludes(data.warnings[1]!, "ofsd-1 lowered validation EM");
    assertStringIncludes(data.warnings[2]!, "the teacher was too weak");

    const ids = data.charts.map(({ id }) => id);
    assertEquals(new Set(ids).size, ids.length);
    for (const id of ["em-searches-real", "reward", "sft-loss", "ofsd-kl", "lengths", "rewards", "teacher"]) {
      assert(ids.includes(id), `no chart ${id}`);
    }
    for (const { id, values, about } of data.charts) assert(values.length > 0 && about.endsWith("."), id);

    const heldOut = data.transcripts.filter(({ set }) => set === "real");
    assertEquals(heldOut.length, 4 * madeStages.length);
    assertEquals(heldOut[0]!.gold, ["Japan"]);
    assertEquals(heldOut[0]!.parts.map(([author]) => author), [
      ...["prompt", "model", "environment", "model", "environment", "model"],
    ]);
    assertEquals(heldOut[0]!.parts.at(-1)![1], `${attack}<answer>Japan</answer>`);
    const rollouts = data.transcripts.filter(({ set }) => set === "train");
    assertEquals(rollouts.map(({ stage }) => stage), Array(8).fill("grpo-2"));
    assertEquals(data.pairs.map(({ sibling, student }) => [sibling.searches, student.searches]), [
      ...Array(4).fill([1, 2]),
    ]);
    assertEquals(data.heatmaps.map(({ when }) => when), [
      ...Array(4).fill("before"),
      ...Array(4).fill("after"),
    ]);
    assertEquals(data.leftOut, []);
    assertStringIncludes(data.config, "Made run");
  }));

Deno.test("runPageData() decodes heat maps token by token, with their spaces", () =>
  withFolder(async (folder) => {
    await makeRun(folder);
    const [map] = (await runPageData(folder)).heatmaps;
    const text = map!.tokens.map((token) => token.text).join("");
    assertStringIncludes(text, "Where is Osaka?\n<search>Osaka</search>");
    assertEquals(map!.block, "<search>Osaka</search>");
    const written = map!.tokens.find(({ author }) => author === "model")!;
    assertEquals([written.text, written.kl], ["<search>", 0.5]);
    // In front of them stand "?", a line break and so no space.
    assertEquals(written.teacher, [["Osaka", 0.75], ["Japan", 0.25]]);
    assertEquals(map!.tokens[0]!, { text: "Where", author: "prompt", kl: null, teacher: [], student: [] });
    const inside = map!.tokens.find((token) => token.text === " Japan");
    assert(inside, "a word inside a sentence has its space");
  }));

Deno.test("tokenTexts() adds up to the text, also where a character is several tokens", () => {
  const text = "é😀 x€".repeat(20);
  const bytes = [...new TextEncoder().encode(text)];
  const tokenizer = { decode: (ids: readonly number[]) => new TextDecoder().decode(new Uint8Array(ids)) };
  const texts = tokenTexts(bytes, tokenizer);
  assertEquals(texts.length, bytes.length);
  assertEquals(texts.join(""), text);
  const tokens = madeTokenizer.encode("Where is Osaka? Osaka lies in Japan. ".repeat(5));
  assertEquals(tokenTexts(tokens, madeTokenizer).join(""), madeTokenizer.decode(tokens));
});

Deno.test("runPageData() shows what there is of a run under way", () =>
  withFolder(async (folder) => {
    await makeRun(folder, { stagesDone: 1 });
    const { metrics } = runPaths(folder);
    await Deno.writeTextFile(metrics, '{"step": 6, "sta', { append: true });
    const data = await runPageData(folder);
    assertEquals([data.state, data.step], ["unfinished", 5]);
    assertEquals(data.stages.map(({ state }) => state), ["done", "running", "waiting", "waiting"]);
    assertEquals(data.headline.map(({ value }) => value), ["0.500", "3.00"]);
    assertEquals([...new Set(data.transcripts.map(({ stage }) => stage))], ["sft", "grpo-1"]);
    assertEquals([data.pairs, data.heatmaps, data.warnings], [[], [], []]);
    assert(data.updated! > "2020");

    // Cut back to the end of SFT, as a resumed run does: roll-outs that are ahead belong to the steps cut off.
    const lines = (await Deno.readTextFile(metrics)).split("\n");
    await Deno.writeTextFile(metrics, lines.slice(0, 3).join("\n") + "\n");
    const cut = await runPageData(folder);
    assertEquals([cut.step, cut.stages[1]!.steps], [3, 0]);
    assertEquals(cut.transcripts.filter(({ set }) => set === "train"), []);

    for (const part of ["checkpoints", "rollouts", "metrics.jsonl", "environment.json"]) {
      await Deno.remove(`${folder}/${part}`, { recursive: true });
    }
    const bare = await runPageData(folder);
    assertEquals([bare.state, bare.step, bare.updated], ["unfinished", 0, null]);
    assertEquals(bare.stages[0]!.state, "running");
  }));

Deno.test("runPageData() waits for a folder that is not there yet", async () => {
  const data = await runPageData("runs/no_such_run");
  assertEquals([data.state, data.name, data.title], [
    "new",
    "no_such_run",
    "Waiting for a run in runs/no_such_run",
  ]);
  assertEquals([data.stages, data.charts, data.transcripts], [[], [], []]);
});

Deno.test("runPageData() puts compared runs side by side", () =>
  withFolder(async (parent) => {
    await makeRun(`${parent}/a`);
    await makeRun(`${parent}/b`, { stagesDone: 2 });
    await makeRun(`${parent}/other/a`);
    const data = await runPageData(`${parent}/a`, { compare: [`${parent}/b`, `${parent}/other/a/`] });
    const [sideBySide, ...own] = data.tables;
    assertEquals(own.map(({ title }) => title), [
      "Held-out questions: a",
      "Held-out questions: b",
      `Held-out questions: ${parent}/other/a/`,
    ]);
    assertEquals(sideBySide!.rows[0]!.slice(0, 5), [
      "stage · set · decoding",
      ...["EM a", "searches a", "EM b", "searches b"],
    ]);
    assertEquals(sideBySide!.rows[3]!.slice(0, 5), ["ofsd-1 · real · greedy", "0.700", "2.00", "n/a", "n/a"]);
    const missing = runPageData(`${parent}/a`, { compare: [`${parent}/c`] });
    await assertRejects(() => missing, Error, `Cannot compare with ${parent}/c: it holds no run`);
  }));

Deno.test("runPageData() keeps to its size with the same questions in every stage, and says so", () =>
  withFolder(async (folder) => {
    const questions = 300;
    await makeRun(folder, { questions, repeated: 60, stagesDone: 2 });
    const size = (value: unknown) => JSON.stringify(value).length;
    const data = await runPageData(folder);
    const live = await runPageData(folder, { live: true });
    for (const { transcripts, leftOut } of [data, live]) {
      const idsOf = (wanted: string) =>
        transcripts.filter(({ stage, set }) => stage === wanted && set === "real").map((each) =>
          each.questionId
        );
      assertEquals(idsOf("sft"), idsOf("grpo-1"));
      assert(idsOf("sft").length > 1 && idsOf("sft").length < questions);
      const text = `Shown are ${idsOf("sft").length} of ${questions} questions of real, evenly spread`;
      assertEquals(leftOut[0], text);
      // Whole groups of roll-outs.
      const train = transcripts.filter(({ set }) => set === "train");
      assert(Map.groupBy(train, ({ questionId }) => questionId).values().every(({ length }) => length === 2));
    }
    assert(size(data) < 3_500_000, `${size(data)} bytes`);
    assert(size(live) < 1_000_000, `${size(live)} bytes`);
  }));

Deno.test("FileCache reads a file once until it changes, and forgets what is no longer asked for", () =>
  withFolder(async (folder) => {
    const files = new FileCache();
    const path = `${folder}/a`;
    let times = 0;
    const derive = (text: string) => {
      times++;
      return text.length;
    };
    assertEquals(await files.read(path, "length", derive), undefined);
    await Deno.writeTextFile(path, "a");
    assertEquals([await files.read(path, "length", derive), await files.read(path, "length", derive)], [
      1,
      1,
    ]);
    files.begin();
    await files.read(path, "length", derive);
    assertEquals(times, 1);
    await files.read(path, "other", derive);
    assertEquals(times, 2);
    await Deno.writeTextFile(path, "aa");
    assertEquals(await files.read(path, "length", derive), 2);
    files.begin();
    files.begin();
    await files.read(path, "length", derive);
    assertEquals(times, 4);
  }));
