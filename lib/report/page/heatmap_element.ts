/**
 * `<token-heatmap>`: the KL between teacher and student at every token of a student trajectory, before and after the stage
 * that distils it, with what both would have said there.
 *
 * @module
 */
import type { Heatmap, HeatmapToken, PageData } from "../page_data.ts";

/** The maps of one student trajectory. */
type Example = Partial<Record<"before" | "after", Heatmap>>;

/** Below this many nats the colour hardly differs from none. */
const faintest = 0.01;

class TokenHeatmap extends HTMLElement {
  #examples = new Map<string, Example>();
  #questionOf: (prompt: string) => string = (prompt) => prompt;
  /** The place of the token that the panel explains; undefined takes the one with the largest KL. */
  #token: number | undefined;
  /** KL of the strongest colour, in nats. */
  #strongest = 1;
  #drawn = "";
  #stage = make("select", { name: "stage" });
  #question = make("select", { name: "question" });
  #when = make("select", { name: "when" });
  #form = make(
    "form",
    { className: "filters", ariaLabel: "Choice of the heat map" },
    make("label", { className: "field" }, make("span", {}, "Stage"), this.#stage),
    make("label", { className: "field" }, make("span", {}, "Student"), this.#when),
    make("label", { className: "field field-question" }, make("span", {}, "Question"), this.#question),
  );
  #legend = make("div", { className: "legend" });
  #block = make("div", { className: "text" });
  #maps = make("div", { className: "maps" });
  #panel = make("div", {
    className: "panel",
    tabIndex: 0,
    role: "region",
    ariaLabel: "The chosen token",
  });
  #none = make("p", { className: "muted" }, "No token-level KL is recorded: an OFSD stage writes it.");
  #body = make(
    "div",
    {},
    this.#form,
    this.#legend,
    make(
      "details",
      { open: true, className: "block" },
      make("summary", {}, "What only the teacher read"),
      this.#block,
    ),
    // The panel stays in sight beside the maps only.
    make("div", {}, this.#maps, this.#panel),
  );

  connectedCallback() {
    this.#form.addEventListener("submit", (event) => event.preventDefault());
    this.#form.addEventListener("input", ({ target }) => {
      if (target !== this.#when) this.#token = undefined;
      this.#draw();
    });
    const point = ({ target }: Event) => {
      const token = (target as Element).closest<HTMLElement>("button.token");
      if (token && Number(token.dataset.index) !== this.#token) this.#choose(Number(token.dataset.index));
    };
    // Not pointerover: scrolling to the focused token would move another one under a resting pointer.
    for (const type of ["pointermove", "focusin", "click"]) this.#maps.addEventListener(type, point);
    this.#maps.addEventListener("keydown", (event) => this.#step(event));
    this.replaceChildren(this.#none, this.#body);
    this.#draw();
  }

  /** Shows other data; what is chosen stays chosen where it still exists. */
  show(data: PageData, questionOf: (prompt: string) => string) {
    this.#questionOf = questionOf;
    this.#examples = examples(data.heatmaps);
    this.#draw();
  }

  #draw() {
    if (!this.isConnected) return;
    this.#none.hidden = this.#examples.size > 0;
    this.#body.hidden = this.#examples.size === 0;
    if (this.#examples.size === 0) return;
    const all = [...this.#examples];
    setChoices(
      this.#stage,
      unique(all.map(([, example]) => mapsOf(example)[0]!.stage)).map((name) => [name, name]),
    );
    const ofStage = all.filter(([, example]) => mapsOf(example)[0]!.stage === this.#stage.value);
    const asked = ofStage.map(([key, example]): [string, string] => {
      const { tokens, questionId } = mapsOf(example)[0]!;
      const prompt = tokens.filter(({ author }) => author === "prompt").map(({ text }) => text).join("");
      return [key, `${this.#questionOf(prompt)} (${questionId})`];
    });
    setChoices(this.#question, asked);
    const example = this.#examples.get(this.#question.value)!;
    const both: [string, string][] = example.before && example.after ? [["both", "before and after"]] : [];
    setChoices(this.#when, [...both, ...Object.keys(example).map((when): [string, string] => [when, when])]);

    const shown = mapsOf(example).filter(({ when }) => ["both", when].includes(this.#when.value));
    const largest = ofStage.flatMap(([, one]) => mapsOf(one)).flatMap(({ tokens }) =>
      tokens.map(({ kl }) => kl ?? 0)
    );
    this.#strongest = largest.reduce((a, b) => Math.max(a, b), 1);
    const drawn = JSON.stringify([shown, this.#strongest]);
    if (drawn !== this.#drawn) {
      this.#drawn = drawn;
      const focused = this.#maps.contains(document.activeElement);
      this.#block.textContent = shown[0]!.block.trim() || "Nothing.";
      this.#drawLegend();
      this.#maps.replaceChildren(...shown.map((map) => this.#map(map)));
      const kept = this.#token !== undefined && typeof shown[0]!.tokens[this.#token]?.kl === "number";
      this.#choose(kept ? this.#token! : largestAt(shown[0]!.tokens));
      if (focused) this.#focus();
    }
  }

  /** 0 for no divergence to 1 for the strongest; logarithmic, so that small values are seen beside large ones. */
  #shade(kl: number): number {
    return Math.log1p(Math.max(0, kl) / faintest) / Math.log1p(this.#strongest / faintest);
  }

  #drawLegend() {
    const ticks = [0, 0.01, 0.1, 1, 10].filter((nats) => nats < this.#strongest * 0.7);
    const bar = make("div", { className: "scale", ariaHidden: "true" });
    for (const nats of [...ticks, this.#strongest]) {
      const tick = make("span", {}, nats === this.#strongest ? nats.toPrecision(2) : String(nats));
      tick.style.left = `${100 * this.#shade(nats)}%`;
      bar.append(tick);
    }
    this.#legend.replaceChildren(
      make("span", {}, "KL between teacher and student, in nats"),
      bar,
      make(
        "span",
        { className: "muted" },
        "Grey is not distilled: prompt, documents. Arrow keys step from token to token.",
      ),
    );
  }

  #map({ when, stage, tokens }: Heatmap): HTMLElement {
    const kls = tokens.flatMap(({ kl }) => kl === null ? [] : [kl]);
    const text = make("div", { className: "tokens", role: "group", ariaLabel: `Tokens ${when} ${stage}` });
    tokens.forEach((token, i) => {
      if (token.kl === null) {
        text.append(make("span", { className: `context ${token.author}` }, token.text));
        return;
      }
      const button = make(
        "button",
        { type: "button", className: "token", tabIndex: -1 },
        visible(token.text),
      );
      button.ariaLabel = `${visible(token.text)}, KL ${nats(token.kl)} nats`;
      button.dataset.index = String(i);
      button.style.setProperty("--shade", `${(100 * this.#shade(token.kl)).toFixed(1)}%`);
      // A button cannot be broken across lines, so line breaks stand behind it.
      text.append(button, token.text.includes("\n") ? "\n" : "");
    });
    const mean = kls.reduce((a, b) => a + b, 0) / Math.max(1, kls.length);
    return make(
      "section",
      { className: "map" },
      make("h3", {}, `Student ${when} ${stage}`),
      make("p", { className: "muted" }, `mean KL ${nats(mean)} nats over ${kls.length} tokens`),
      text,
    );
  }

  #choose(index: number) {
    this.#token = index;
    for (const button of this.#maps.querySelectorAll<HTMLElement>("button.token")) {
      const chosen = button.dataset.index === String(index);
      button.classList.toggle("chosen", chosen);
      button.tabIndex = chosen ? 0 : -1;
    }
    const example = this.#examples.get(this.#question.value)!;
    const maps = mapsOf(example).filter(({ when }) => ["both", when].includes(this.#when.value));
    const token = maps[0]!.tokens[index];
    if (!token) return;
    const written = token.text;
    this.#panel.replaceChildren(
      make(
        "p",
        {},
        make("span", { className: "muted" }, "token "),
        make("code", {}, visible(written)),
        ...maps.flatMap(({ when, tokens }) => [
          make("span", { className: "muted" }, ` · KL ${when} `),
          `${nats(tokens[index]!.kl ?? 0)} nats`,
        ]),
      ),
      make(
        "div",
        { className: "sides" },
        bars("Teacher", token.teacher, written),
        ...maps.map(({ when, tokens }) => bars(`Student ${when}`, tokens[index]!.student, written)),
      ),
    );
  }

  #step(event: KeyboardEvent) {
    const at = (event.target as Element).closest<HTMLElement>("button.token");
    if (!at || event.ctrlKey || event.metaKey || event.altKey) return;
    const all = [...at.parentElement!.querySelectorAll<HTMLElement>("button.token")];
    const place = all.indexOf(at);
    const targets: Record<string, number> = {
      ArrowRight: place + 1,
      ArrowDown: place + 1,
      ArrowLeft: place - 1,
      ArrowUp: place - 1,
      Home: 0,
      End: all.length - 1,
    };
    const target = targets[event.key];
    if (target === undefined) return;
    event.preventDefault();
    all[target]?.focus();
  }

  #focus() {
    this.#maps.querySelector<HTMLElement>("button.token.chosen")?.focus({ preventScroll: true });
  }
}

/** Maps by trajectory: a question can have several, which stand in the same order before and after. */
function examples(heatmaps: Heatmap[]): Map<string, Example> {
  const out = new Map<string, Example>();
  const seen = new Map<string, number>();
  for (const map of heatmaps) {
    const counted = JSON.stringify([map.stage, map.questionId, map.when]);
    const times = seen.get(counted) ?? 0;
    seen.set(counted, times + 1);
    const key = JSON.stringify([map.stage, map.questionId, times]);
    out.set(key, { ...out.get(key), [map.when]: map });
  }
  return out;
}

function mapsOf({ before, after }: Example): Heatmap[] {
  return [before, after].filter((map) => map !== undefined);
}

/** Where the divergence is largest. */
function largestAt(tokens: HeatmapToken[]): number {
  let at = 0;
  tokens.forEach(({ kl }, i) => {
    if (kl !== null && kl > (tokens[at]!.kl ?? -1)) at = i;
  });
  return at;
}

function bars(title: string, alternatives: HeatmapToken["teacher"], written: string): HTMLElement {
  const rows = alternatives.map(([text, probability]) => {
    const bar = make("span", { className: "bar", ariaHidden: "true" });
    bar.style.setProperty("--share", `${100 * probability}%`);
    const isWritten = text === written;
    return make(
      "li",
      { className: isWritten ? "written" : "", title: isWritten ? "the token in the trajectory" : "" },
      make("code", {}, visible(text)),
      bar,
      make("span", { className: "share" }, probability.toFixed(3)),
    );
  });
  return make("div", {}, make("h4", {}, title), make("ol", { className: "bars", ariaLabel: title }, ...rows));
}

/** A token that can be seen even if it is white space, or the first part of a character. */
function visible(text: string): string {
  return text === ""
    ? "…"
    : text.trim() === ""
    ? text.replaceAll("\n", "↵").replaceAll(" ", "␣")
    : text.trim();
}

function nats(kl: number): string {
  return kl !== 0 && Math.abs(kl) < 0.001 ? kl.toExponential(0) : kl.toFixed(3);
}

/** Offers choices; the one taken stays while it is among them, else it is the first. */
function setChoices(select: HTMLSelectElement, choices: [value: string, label: string][]) {
  const offered = JSON.stringify(choices);
  if (select.dataset.offered === offered) return;
  select.dataset.offered = offered;
  const kept = choices.find(([value]) => value === select.value) ?? choices[0];
  select.replaceChildren(...choices.map(([value, label]) => make("option", { value }, label)));
  select.value = kept?.[0] ?? "";
}

function unique(values: string[]): string[] {
  return [...new Set(values)];
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

customElements.define("token-heatmap", TokenHeatmap);
