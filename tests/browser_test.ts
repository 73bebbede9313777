/**
 * What a reader sees of a run, in a real Chromium: the report of a small real run, opened from disk without any network,
 * and the live page of a run that goes on. SEARCH_E1_CHROMIUM names a browser.
 */
import { assert, assertEquals, assertNotEquals, assertStringIncludes } from "@std/assert";
import type { Browser, Page } from "playwright-core";
import { openEngine } from "../lib/engine/open_engine.ts";
import type { PageData } from "../lib/report/page_data.ts";
import { pageHtml } from "../lib/report/page_html.ts";
import { writeReport } from "../lib/report/report.ts";
import { runPageData } from "../lib/report/run_page.ts";
import { watchRun } from "../lib/report/watch_server.ts";
import { metricsLine } from "../lib/run/metrics.ts";
import { runPaths } from "../lib/run/run_folder.ts";
import { chromiumPath, openChromium, withPage } from "./browser.ts";
import { attack, makeRun } from "./made_run.ts";
import { runHere, smallConfig, writeSmallWorld } from "./small_world.ts";

const chromium = await chromiumPath();
const parent = await Deno.makeTempDir();
/** A finished run on the small world, and what its report carries. */
const run = `${parent}/small`;
let data: PageData;
let browser: Browser | undefined;

if (chromium) {
  Deno.test.beforeAll(async () => {
    browser = await openChromium(chromium);
    await writeSmallWorld(parent);
    const engine = await openEngine({ engine: "auto", threads: 1 });
    try {
      assert((await runHere(engine, smallConfig(parent), run)).finished);
    } finally {
      engine.close();
    }
    await writeReport(run);
    data = await runPageData(run);
  });
}
Deno.test.afterAll(async () => {
  await browser?.close();
  await Deno.remove(parent, { recursive: true });
});

/** A test that opens the report of the run. */
function reportTest(name: string, body: (page: Page) => Promise<void>) {
  Deno.test({
    name: `report.html ${name}`,
    ignore: !chromium,
    fn: () => withPage(browser!, `file://${run}/report.html`, body),
  });
}

/** A test on a run folder that is made by hand, in `folder`. */
function madeRunTest(name: string, body: (folder: string) => Promise<void>) {
  Deno.test({
    name,
    ignore: !chromium,
    fn: async () => {
      const folder = await Deno.makeTempDir({ dir: parent });
      await body(`${folder}/made`);
    },
  });
}

const options = (page: Page) => page.locator("transcript-browser [role=option]");
const chosen = (page: Page) => page.locator("transcript-browser [role=option][aria-selected=true]");
const articles = (page: Page) => page.locator("transcript-browser article");
const count = (page: Page) => page.locator("transcript-browser .count").innerText();

/** Whether a row stands wholly in the window of its list, which scrolls. */
function isInList(row: HTMLElement | SVGElement): boolean {
  const [inner, outer] = [row, row.parentElement!].map((element) => element.getBoundingClientRect());
  return inner!.top >= outer!.top - 1 && inner!.bottom <= outer!.bottom + 1;
}

async function chartsDrawn(page: Page) {
  await page.waitForFunction(() =>
    document.querySelector("vega-chart") !== null &&
    [...document.querySelectorAll("vega-chart")].every((chart) => chart.querySelector("svg"))
  );
}

reportTest("has every section, with content and a link to it", async (page) => {
  assertEquals(await page.title(), data.title);
  const sections = page.locator("main > section");
  assertEquals(await sections.locator("> h2").allInnerTexts(), [
    ...["Summary", "Results", "Charts", "Transcripts", "KL heat map", "Config", "Environment", "Left out"],
  ]);
  for (const section of await sections.all()) {
    assert((await section.locator("> :not(h2)").innerText()).trim() !== "");
    const id = await section.getAttribute("id");
    assertEquals(await page.locator(`nav a[href="#${id}"]`).count(), 1);
  }
  for (const { label, value } of data.headline) {
    assertStringIncludes(await page.locator("#summary").innerText(), `${label}\n${value}`);
  }
  const cells = page.locator("#results table").first().locator("th, td");
  assertEquals(await cells.allInnerTexts(), data.tables[0]!.rows.flat());
  assertEquals(await page.locator(".timeline li").count(), data.stages.length);
  await page.locator("#config summary").click();
  assertEquals(await page.locator("#config pre").textContent(), data.config);
});

reportTest("draws every chart, and a box with the fields of a point", async (page) => {
  await chartsDrawn(page);
  assertEquals(await page.locator("vega-chart h3").allInnerTexts(), data.charts.map(({ title }) => title));
  for (const chart of await page.locator("vega-chart").all()) {
    const marks = chart.locator("svg .role-mark path[d], svg .role-mark line");
    assert(await marks.count() > 0, await chart.innerText());
  }
  const points = page.locator("#chart-reward svg .mark-symbol.role-mark path");
  await points.first().hover();
  const box = page.locator("#chart-reward .chart-tooltip");
  assertStringIncludes(await box.innerText(), "grpo-1");
  await page.mouse.move(0, 0);
  assertEquals(await box.isVisible(), false);
});

reportTest("filters transcripts by stage, set, answer, searches and text", async (page) => {
  const all = data.transcripts;
  const filters: [name: string, choice: string, passes: (t: PageData["transcripts"][number]) => boolean][] = [
    ["stage", "sft", ({ stage }) => stage === "sft"],
    ["set", "cities", ({ set }) => set === "cities"],
    ["verdict", "wrong", ({ correct }) => !correct],
    ["verdict", "right", ({ correct }) => correct],
    ["searches", "2", ({ searches }) => searches === 2],
  ];
  assertEquals(await count(page), `${all.length} of ${all.length} transcripts`);
  for (const [name, choice, passes] of filters) {
    await page.locator(`transcript-browser [name=${name}]`).selectOption(choice);
    const wanted = all.filter(passes).length;
    assertEquals(await count(page), `${wanted} of ${all.length} transcripts`, `${name} ${choice}`);
    assertEquals(await options(page).count(), Math.min(50, wanted));
    await page.locator(`transcript-browser [name=${name}]`).selectOption("");
  }
  await page.locator("transcript-browser [name=text]").fill("lyon");
  const lyon = all.filter(({ parts }) => parts[0]![1].includes("Lyon"));
  assertEquals(await count(page), `${lyon.length} of ${all.length} transcripts`);
  for (const text of await options(page).allInnerTexts()) assertStringIncludes(text, "Lyon");
  assertStringIncludes(
    await articles(page).innerText(),
    "What is the capital of the country where Lyon lies?",
  );
  await page.locator("transcript-browser [name=text]").fill("no such text");
  assertEquals(await options(page).count(), 0);
  assertEquals(await page.locator(".transcripts").innerText(), "Nothing fits these filters.");
});

reportTest("sets the same question before and after OFSD side by side", async (page) => {
  await page.locator("[name=mode][value=stages]").check();
  assertEquals(await page.locator("transcript-browser [name=before]").inputValue(), "grpo-1");
  assertEquals(await page.locator("transcript-browser [name=after]").inputValue(), "ofsd-1");
  const before = data.transcripts.filter(({ stage, set }) => stage === "sft" && set === "cities");
  const after = data.transcripts.filter(({ stage, set }) => stage === "ofsd-1" && set === "cities");
  await page.locator("transcript-browser [name=before]").selectOption("sft");
  assertEquals(await count(page), `${after.length} of ${after.length} questions`);
  for (let i = 0; i < after.length; i++) {
    assertEquals(await articles(page).count(), 2);
    const [left, right] = await articles(page).allInnerTexts();
    assertStringIncludes(left!, "after sft");
    assertStringIncludes(right!, "after ofsd-1");
    for (const text of [left!, right!]) assertStringIncludes(text, after[i]!.questionId);
    if (i < after.length - 1) await page.getByRole("button", { name: "Next" }).click();
  }
  assert(await page.getByRole("button", { name: "Next" }).isDisabled());
  await page.locator("transcript-browser [name=changed]").check();
  const changed = after.filter(({ questionId, searches, correct }) => {
    const earlier = before.find((transcript) => transcript.questionId === questionId)!;
    return earlier.searches !== searches || earlier.correct !== correct;
  });
  assertEquals(await count(page), `${changed.length} of ${after.length} questions`);
});

reportTest("sets a sibling beside the student, with the searches of each", async (page) => {
  await page.locator("[name=mode][value=siblings]").check();
  assertEquals(await count(page), `${data.pairs.length} of ${data.pairs.length} pairs`);
  const searches = (n: number) => `${n} ${n === 1 ? "search" : "searches"} ·`;
  const { sibling, student } = data.pairs[0]!;
  const [left, right] = await articles(page).allInnerTexts();
  for (const part of ["sibling", searches(sibling.searches)]) assertStringIncludes(left!, part);
  for (const part of ["student", searches(student.searches), student.questionId]) {
    assertStringIncludes(right!, part);
  }
});

reportTest("says who wrote what, with the agent's tags marked", async (page) => {
  const { parts } = data.transcripts[0]!;
  const shown = articles(page).locator(".part");
  assertEquals(await shown.locator(".author").allInnerTexts(), parts.map(([author]) => author));
  assertEquals(await shown.locator(".tag").first().innerText(), "<search>");
  const fills = await shown.evaluateAll((all) => all.map((part) => getComputedStyle(part).borderLeftColor));
  assertEquals(new Set(fills).size, 3);
});

reportTest("colours tokens by KL and explains each one to the keyboard", async (page) => {
  const maps = page.locator("token-heatmap .map");
  assertEquals(await maps.count(), 2);
  const distilled = data.heatmaps[0]!.tokens.filter(({ kl }) => kl !== null);
  const tokens = maps.first().locator("button.token");
  assertEquals(await tokens.count(), distilled.length);
  const fills = await tokens.evaluateAll((all) =>
    all.map((token) => getComputedStyle(token).backgroundColor)
  );
  assert(new Set(fills).size > 1, "all tokens have one colour");
  assertEquals(await page.locator("token-heatmap .block .text").innerText(), data.heatmaps[0]!.block.trim());

  const panel = page.locator("token-heatmap .panel");
  await tokens.first().hover();
  await page.locator("token-heatmap .token[tabindex='0']").first().focus();
  for (const { kl, teacher, student } of distilled) {
    const text = await panel.innerText();
    if (kl! >= 0.001) assertStringIncludes(text, `KL before ${kl!.toFixed(3)} nats`);
    for (const side of [teacher, student]) assertStringIncludes(text, side[0]![1].toFixed(3));
    await page.keyboard.press("ArrowRight");
  }
  await page.locator("token-heatmap [name=when]").selectOption("after");
  assertEquals(await maps.locator("h3").allInnerTexts(), ["Student after ofsd-1"]);
});

reportTest("is walked through by keyboard alone", async (page) => {
  const focused = () => page.evaluate(() => document.activeElement!.outerHTML.match(/^<[^>]*>/)![0]);
  const tabTo = async (wanted: RegExp) => {
    for (let i = 0; i < 200; i++) {
      await page.keyboard.press("Tab");
      if (wanted.test(await focused())) return;
    }
    throw new Error(`The tab key never reaches ${wanted}`);
  };
  await tabTo(/href="#content"/);
  await tabTo(/href="#transcripts"/);
  await page.keyboard.press("Enter");
  await tabTo(/value="single"/);
  await page.keyboard.press("ArrowDown");
  assertEquals(await page.locator("[name=mode]:checked").inputValue(), "stages");
  await tabTo(/name="verdict"/);
  await tabTo(/name="text"/);
  await page.keyboard.type("lyon");
  assertStringIncludes(await count(page), "1 of ");
  for (let i = 0; i < 4; i++) await page.keyboard.press("Backspace");
  await tabTo(/role="option"/);
  assertStringIncludes(await chosen(page).innerText(), "Lyon");
  await page.keyboard.press("Home");
  assertNotEquals(await chosen(page).evaluate((option) => getComputedStyle(option).outlineStyle), "none");
  for (const [key, index] of [["j", 1], ["ArrowDown", 2], ["k", 1], ["ArrowUp", 0], ["End", 5]] as const) {
    await page.keyboard.press(key);
    assertEquals(await chosen(page).getAttribute("data-index"), String(index), key);
    assertStringIncludes(await focused(), `data-index="${index}"`);
    assert(await chosen(page).evaluate(isInList), `${key} leaves the list's window`);
  }
  await tabTo(/class="token/);
});

reportTest("changes its theme by a button, charts included, and remembers it", async (page) => {
  await chartsDrawn(page);
  const colours = () =>
    page.evaluate(() => [
      getComputedStyle(document.body).backgroundColor,
      getComputedStyle(document.querySelector("#chart-reward svg .role-axis-label text")!).fill,
    ]);
  const light = await colours();
  await page.getByRole("button", { name: "Dark theme" }).click();
  const dark = await colours();
  light.forEach((colour, i) => assertNotEquals(dark[i], colour));
  await page.reload();
  await chartsDrawn(page);
  assertEquals(await colours(), dark);
});

reportTest("fits a telephone's width", async (page) => {
  await page.setViewportSize({ width: 360, height: 740 });
  await chartsDrawn(page);
  for (const mode of ["single", "stages", "siblings"]) {
    await page.locator(`[name=mode][value=${mode}]`).check();
    assertEquals(await page.evaluate(() => document.documentElement.scrollWidth), 360, mode);
  }
});

madeRunTest("report.html shows what a model wrote as text, and runs none of it", async (folder) => {
  await makeRun(folder);
  const made = await runPageData(folder);
  const hostile = `${attack}<img src=x onerror=alert(2)>`;
  const shown: PageData = {
    ...made,
    title: hostile,
    name: hostile,
    notes: [hostile],
    warnings: [hostile],
    leftOut: [hostile],
    config: hostile,
    headline: [{ label: hostile, value: hostile, note: hostile }],
    tables: [{ title: hostile, rows: [[hostile], [hostile]] }],
    transcripts: made.transcripts.map((each) => ({ ...each, answer: hostile, gold: [hostile] })),
    heatmaps: made.heatmaps.map((each) => ({ ...each, block: hostile })),
  };
  await Deno.writeTextFile(`${folder}/hostile.html`, await pageHtml(shown, { live: false }));
  await withPage(browser!, `file://${folder}/hostile.html`, async (page) => {
    await chartsDrawn(page);
    assertEquals(await page.locator("h1").innerText(), hostile);
    for (const id of ["summary", "results", "transcripts", "heat-map", "left-out"]) {
      assertStringIncludes(await page.locator(`#${id}`).innerText(), attack, id);
    }
    assertStringIncludes(await articles(page).locator(".part.model").last().innerText(), attack);
    assertEquals(await page.locator("main script, main img, header script, header img").count(), 0);
  });
});

const served = { allowed: /^http:\/\/127\.0\.0\.1:/ };

madeRunTest("the live page waits for a run, then follows it without losing its place", async (folder) => {
  const server = await watchRun(folder, { port: 0 });
  try {
    await withPage(browser!, server.url, async (page) => {
      await page.waitForFunction(() => document.querySelector(".live")!.textContent!.includes("waiting"));
      for (const section of await page.locator("main > section > :not(h2)").allInnerTexts()) {
        assertNotEquals(section.trim(), "");
      }
      await makeRun(folder, { stagesDone: 2 });
      const { metrics } = runPaths(folder);
      const points = page.locator("#chart-reward svg .mark-symbol.role-mark path");
      await page.waitForFunction(() => document.querySelector("#chart-reward svg"));
      const before = await points.count();

      await page.locator("transcript-browser [name=stage]").selectOption("grpo-1");
      await options(page).nth(2).click();
      await page.locator("#config summary").click();
      const place = () =>
        page.evaluate(() => ({
          scrolled: scrollY,
          stage: document.querySelector<HTMLSelectElement>("transcript-browser [name=stage]")!.value,
          focused: document.activeElement!.getAttribute("data-index"),
          chosen: document.querySelector("[role=option][aria-selected=true]")!.getAttribute("data-index"),
          open: document.querySelector<HTMLDetailsElement>("#config details")!.open,
          drawing: document.querySelector<SVGElement>("#chart-reward svg")!.dataset.kept,
        }));
      await page.evaluate(() =>
        document.querySelector<SVGElement>("#chart-reward svg")!.dataset.kept = "yes"
      );
      await options(page).nth(2).focus();
      const kept = await place();
      assertEquals([kept.stage, kept.focused, kept.chosen, kept.open, kept.drawing], [
        "grpo-1",
        "2",
        "2",
        true,
        "yes",
      ]);

      const { step } = await runPageData(folder);
      await Deno.writeTextFile(
        metrics,
        metricsLine({ step: step + 1, stage: "grpo-1", reward: 0.9 }),
        { append: true },
      );
      await page.waitForFunction(
        (wanted) => document.querySelector(".live")!.textContent!.includes(wanted),
        `live · step ${step + 1} · updated`,
      );
      await page.waitForFunction(
        ([wanted]) =>
          document.querySelectorAll("#chart-reward svg .mark-symbol.role-mark path").length === wanted,
        [before + 1],
      );
      assertEquals(await place(), kept);
    }, served);
  } finally {
    await server.close();
  }
});

madeRunTest("the live page says that the server is gone, and recovers by itself", async (folder) => {
  await makeRun(folder, { stagesDone: 1 });
  let server = await watchRun(folder, { port: 0 });
  const says = (page: Page, text: string) =>
    page.waitForFunction((text) => document.querySelector(".live")!.textContent!.includes(text), text);
  try {
    await withPage(browser!, server.url, async (page) => {
      await says(page, "live · step 5");
      await server.close();
      await says(page, "connection lost, trying again");
      const port = Number(new URL(server.url).port);
      await Deno.writeTextFile(
        runPaths(folder).metrics,
        metricsLine({ step: 6, stage: "grpo-1", reward: 0.9 }),
        {
          append: true,
        },
      );
      server = await watchRun(folder, { port });
      await says(page, "live · step 6");
    }, { ...served, ignored: /ERR_CONNECTION_REFUSED|ERR_INCOMPLETE_CHUNKED_ENCODING/ });
  } finally {
    await server.close();
  }
});
