/**
 * The page: header, sections and navigation, filled from the data that it carries, or from those that a server sends while
 * a run goes on. What has not changed is left alone, so that a live page keeps its place.
 *
 * @module
 */
import type { PageData, StageProgress } from "../page_data.ts";

interface DataElement extends HTMLElement {
  show(data: PageData, questionOf: (prompt: string) => string): void;
}

const title = make("h1", {}, "A Search-E1 run");
const subtitle = make("p", { className: "subtitle" });
const timeline = make("ol", { className: "timeline", ariaLabel: "Stages" });
const live = make("p", { className: "live", hidden: true });
const themeButton = make("button", { type: "button", className: "theme" });
const nav = make("nav", { ariaLabel: "Sections" });
const main = make("main", { id: "content" });
document.body.append(
  make("a", { className: "skip", href: "#content" }, "Skip to the content"),
  make("header", {}, make("div", { className: "head" }, title, themeButton), subtitle, live, timeline),
  nav,
  main,
);

const summary = section("summary", "Summary");
const results = section("results", "Results");
const charts = section("charts", "Charts");
charts.className = "charts";
const transcripts = document.createElement("transcript-browser") as DataElement;
section("transcripts", "Transcripts").append(transcripts);
const heatmap = document.createElement("token-heatmap") as DataElement;
section("heat-map", "KL heat map").append(heatmap);
const config = section("config", "Config");
const environment = section("environment", "Environment");
const leftOut = section("left-out", "Left out");

keepTheme();
const carried = document.getElementById("data");
if (carried) show(JSON.parse(carried.textContent!));
else listen();

function show(data: PageData) {
  document.title = data.title;
  title.textContent = data.title;
  subtitle.textContent = data.state === "new"
    ? data.name
    : `${data.name} · ${data.state} · ${counted(data.step, "step")}`;
  fill(timeline, data.stages, () => data.stages.map(stageItem));
  fill(summary, [data.headline, data.warnings, data.notes], () => summaryOf(data));
  fill(
    results,
    data.tables,
    () => data.tables.length > 0 ? data.tables.map(table) : [none("No results yet.")],
  );
  showCharts(data);
  const questionOf = questionFinder(data);
  transcripts.show(data, questionOf);
  heatmap.show(data, questionOf);
  fill(config, data.config, () => [verbatim(data.config, "config.toml")]);
  fill(environment, data.environment, () => [verbatim(data.environment, "environment.json")]);
  fill(leftOut, data.leftOut, () => [
    data.leftOut.length > 0
      ? make("ul", {}, ...data.leftOut.map((line) => make("li", {}, line)))
      : none("Nothing was left out."),
  ]);
}

function stageItem({ name, steps, state }: StageProgress): HTMLElement {
  const mark = { done: "✓", running: "●", waiting: "○" }[state];
  return make(
    "li",
    { className: state },
    make("span", { className: "mark", ariaHidden: "true" }, mark),
    make("span", { className: "name" }, name),
    make(
      "span",
      { className: "muted" },
      state === "waiting" ? "waiting" : `${state}, ${counted(steps, "step")}`,
    ),
  );
}

function summaryOf({ headline, warnings, notes }: PageData): Node[] {
  const cards = headline.map(({ label, value, note }) =>
    make(
      "div",
      { className: "card" },
      make("dt", {}, label),
      make("dd", { className: "value" }, value),
      make("dd", { className: "muted" }, note),
    )
  );
  return [
    cards.length > 0 ? make("dl", { className: "cards" }, ...cards) : none("No figures yet."),
    warnings.length > 0
      ? make(
        "div",
        { className: "warnings" },
        make("h3", {}, `⚠ ${counted(warnings.length, "warning")}`),
        make("ul", {}, ...warnings.map((line) => make("li", {}, line))),
      )
      : make("p", { className: "no-warnings" }, "Warnings: none."),
    notes.length > 0
      ? make("ul", { className: "notes" }, ...notes.map((line) => make("li", {}, line)))
      : none("No notes yet."),
  ];
}

/** Columns of figures are aligned to the right. */
function table({ title, rows }: PageData["tables"][number]): HTMLElement {
  const [head = [], ...body] = rows;
  const isFigure = (cell: string) => /^([-−+±]?[.\d][\d.,]*\s*%?|n\/a|)$/.test(cell.trim());
  const figures = head.map((_, column) => column > 0 && body.every((row) => isFigure(row[column] ?? "")));
  const line = (row: string[], isHead: boolean) =>
    make(
      "tr",
      {},
      ...row.map((cell, column) => {
        const scope = isHead ? "col" : "row";
        const className = figures[column] ? "figure" : "";
        return isHead || column === 0
          ? make("th", { scope, className }, cell)
          : make("td", { className }, cell);
      }),
    );
  return make(
    "div",
    { className: "scroll", role: "region", ariaLabel: title, tabIndex: 0 },
    make(
      "table",
      {},
      make("caption", {}, title),
      make("thead", {}, line(head, true)),
      make("tbody", {}, ...body.map((row) => line(row, false))),
    ),
  );
}

/** Charts keep their elements by id, and their order. */
function showCharts(data: PageData) {
  const shown = data.charts.map((chart) => {
    const id = `chart-${chart.id}`;
    const element = document.getElementById(id) ??
      Object.assign(document.createElement("vega-chart"), { id });
    return Object.assign(element, { chart });
  });
  const wanted: Element[] = shown.length > 0
    ? shown
    : [charts.querySelector(":scope > p") ?? none("No charts yet.")];
  for (const child of [...charts.children]) if (!wanted.includes(child)) child.remove();
  wanted.forEach((chart, i) => {
    if (charts.children[i] !== chart) charts.insertBefore(chart, charts.children[i] ?? null);
  });
}

function verbatim(text: string, name: string): HTMLElement {
  if (text.trim() === "") return none(`No ${name} yet.`);
  return make(
    "details",
    {},
    make("summary", {}, name),
    make("pre", { tabIndex: 0, role: "region", ariaLabel: name }, text),
  );
}

/**
 * Finds the question in a prompt: what differs between prompts, back to the start and on to the end of its line or
 * sentence.
 */
function questionFinder({ transcripts, pairs, heatmaps }: PageData): (prompt: string) => string {
  const ofParts = (parts: (readonly [string, string])[]) =>
    parts.filter(([author]) => author === "prompt").map(([, text]) => text).join("");
  const prompts = [
    ...transcripts.map(({ parts }) => ofParts(parts)),
    ...pairs.map(({ student }) => ofParts(student.parts)),
    ...heatmaps.map(({ tokens }) => ofParts(tokens.map(({ author, text }) => [author, text]))),
  ].filter((prompt) => prompt !== "");
  const first = prompts[0] ?? "";
  let start = first.length;
  let end = first.length;
  for (const prompt of prompts) {
    let i = 0;
    while (i < start && prompt[i] === first[i]) i++;
    start = i;
    let j = 0;
    while (j < end && prompt.at(-1 - j) === first.at(-1 - j)) j++;
    end = j;
  }
  start = first.slice(0, start).match(/^[^]*[.:>\n]\s*/)?.[0].length ?? 0;
  const ending = first.slice(first.length - end).match(/[<\n]/)?.index;
  end = ending === undefined ? 0 : end - ending;
  return (prompt) => prompt.slice(start, prompt.length - end).trim() || prompt.trim();
}

/** Shows what a server sends, and says how fresh it is; a lost connection is tried again until it stands. */
function listen() {
  let data: PageData | undefined;
  let connected = false;
  const say = () => {
    live.hidden = false;
    live.classList.toggle("lost", !connected);
    live.ariaLive = connected ? "off" : "polite";
    live.textContent = connected
      ? `live · step ${data?.step ?? 0} · ${freshness(data?.updated ?? null)}`
      : data
      ? `connection lost, trying again · step ${data.step}`
      : "connecting…";
  };
  const connect = () => {
    const events = new EventSource("events");
    events.addEventListener("data", (event) => {
      data = JSON.parse(event.data) as PageData;
      connected = true;
      show(data);
      say();
    });
    events.addEventListener("error", () => {
      connected = false;
      say();
      // After an answer that is no stream the browser gives up.
      if (events.readyState === EventSource.CLOSED) setTimeout(connect, 2000);
    });
  };
  setInterval(say, 1000);
  say();
  connect();
}

function freshness(updated: string | null): string {
  if (updated === null) return "waiting for the first step";
  const seconds = Math.max(0, Math.round((Date.now() - Date.parse(updated)) / 1000));
  const minutes = Math.round(seconds / 60);
  const ago = seconds < 100
    ? `${seconds} s`
    : minutes < 100
    ? `${minutes} min`
    : `${Math.round(minutes / 60)} h`;
  return `updated ${ago} ago`;
}

/** The reader's theme, else the system's; paper is light. */
function keepTheme() {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const remembered = () => {
    try {
      return localStorage.getItem("search-e1-theme");
    } catch {
      return null; // A page from disk may have no storage.
    }
  };
  let chosen = remembered();
  const apply = (theme = chosen ?? (dark.matches ? "dark" : "light")) => {
    document.documentElement.dataset.theme = theme;
    themeButton.textContent = theme === "dark" ? "Light theme" : "Dark theme";
  };
  themeButton.addEventListener("click", () => {
    chosen = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    apply();
    try {
      localStorage.setItem("search-e1-theme", chosen);
    } catch {
      // Then it holds until the page is closed.
    }
  });
  dark.addEventListener("change", () => apply());
  addEventListener("beforeprint", () => apply("light"));
  addEventListener("afterprint", () => apply());
  apply();
}

/** Adds a section with a link to it, and gives the place for what it shows. */
function section(id: string, heading: string): HTMLElement {
  const place = make("div");
  const headline = make("h2", { id: `${id}-heading` }, heading);
  const added = make("section", { id }, headline, place);
  added.setAttribute("aria-labelledby", headline.id);
  main.append(added);
  nav.append(make("a", { href: `#${id}` }, heading));
  return place;
}

/** Rebuilds a place of the page when what it shows has changed. */
function fill(place: HTMLElement & { shown?: string }, value: unknown, draw: () => Node[]) {
  const shown = JSON.stringify(value);
  if (place.shown === shown) return;
  place.shown = shown;
  const open = place.querySelector("details")?.open ?? false;
  place.replaceChildren(...draw());
  const details = place.querySelector("details");
  if (details) details.open = open;
}

function counted(count: number, thing: string): string {
  return `${count} ${thing}${count === 1 ? "" : "s"}`;
}

function none(text: string): HTMLElement {
  return make("p", { className: "muted" }, text);
}

function make<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  properties: Partial<HTMLElementTagNameMap[K]> = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[K] {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}
