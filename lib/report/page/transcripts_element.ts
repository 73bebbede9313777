/**
 * `<transcript-browser>`: the transcripts of a run, filtered, one at a time or two beside each other: the same question
 * after two stages, or a student trajectory beside the sibling that its teacher was shown.
 *
 * @module
 */
import type { PageData, Transcript } from "../page_data.ts";

/** A row of the list, with one transcript or with two to compare; filters look at the last one. */
interface Entry {
  key: string;
  shown: { label: string; transcript: Transcript }[];
}

/** What the filters say; `mode` is `single`, `stages` or `siblings`. */
type Filters =
  & Record<"mode" | "stage" | "before" | "after" | "set" | "verdict" | "searches" | "text", string>
  & {
    changed: boolean;
  };

const pageSize = 50;
const anyChoice: [value: string, label: string] = ["", "all"];
const searchChoices = [anyChoice, ...["0", "1", "2", "3"].map(same), ["4", "4 or more"] as [string, string]];

class TranscriptBrowser extends HTMLElement {
  #data: PageData | undefined;
  #questionOf: (prompt: string) => string = (prompt) => prompt;
  /** Those that pass the filters, and how many of them the list shows. */
  #entries: Entry[] = [];
  #limit = pageSize;
  #selected = "";
  #listed = "";
  #detailed = "";
  #form = make("form", { className: "filters", ariaLabel: "Filters of transcripts" });
  #fields = new Map<string, HTMLElement>();
  #count = make("output", { className: "count", ariaLive: "polite" });
  #list = make("ol", { className: "choices", role: "listbox", ariaLabel: "Transcripts; j and k step" });
  #more = make("button", { type: "button" });
  #previous = make("button", { type: "button" }, "← Previous");
  #next = make("button", { type: "button" }, "Next →");
  #place = make("span", { className: "muted" });
  #transcripts = make("div", { className: "transcripts" });

  connectedCallback() {
    this.#form.append(
      this.#modes(),
      this.#select("stage", "Stage"),
      this.#select("before", "Before"),
      this.#select("after", "After"),
      this.#select("set", "Set"),
      this.#select("verdict", "Answer", [anyChoice, ["right", "right"], ["wrong", "wrong"]]),
      this.#select("searches", "Searches", searchChoices),
      this.#field("text", "Find in question, answer", make("input", { name: "text", type: "search" })),
      this.#field("changed", "Changed only", make("input", { name: "changed", type: "checkbox" })),
    );
    this.#form.addEventListener("input", ({ target }) => {
      (target as HTMLElement).dataset.chosen = "";
      this.#filter();
    });
    this.#form.addEventListener("submit", (event) => event.preventDefault());
    this.#list.addEventListener("click", (event) => {
      const option = (event.target as Element).closest<HTMLElement>("[role=option]");
      if (option) this.#choose(Number(option.dataset.index), true);
    });
    this.#list.addEventListener("keydown", (event) => this.#step(event));
    this.#more.addEventListener("click", () => {
      this.#limit += pageSize;
      this.#drawList();
    });
    this.#previous.addEventListener("click", () => this.#choose(this.#index - 1, false));
    this.#next.addEventListener("click", () => this.#choose(this.#index + 1, false));
    const stepping = make("div", { className: "stepping" }, this.#previous, this.#place, this.#next);
    const side = make("div", { className: "side" }, this.#count, this.#list, this.#more);
    const detail = make("div", {}, stepping, this.#transcripts);
    this.replaceChildren(this.#form, make("div", { className: "browser" }, side, detail));
    this.#filter();
  }

  /** Shows other data; what is chosen stays chosen where it still exists. */
  show(data: PageData, questionOf: (prompt: string) => string) {
    this.#data = data;
    this.#questionOf = questionOf;
    this.#filter();
  }

  #filter() {
    if (!this.#data || !this.isConnected) return;
    const { transcripts, pairs } = this.#data;
    const mode = String(new FormData(this.#form).get("mode"));
    const siblings = mode === "siblings";
    const listed = siblings ? pairs.map(({ student }) => student) : transcripts;
    const stagesOf = (some: Transcript[]) =>
      this.#data!.stages.map(({ name }) => name).filter((name) => some.some(({ stage }) => stage === name));
    const measured = stagesOf(transcripts);
    const ofsd = Math.max(1, measured.findIndex((name) => name.startsWith("ofsd")));
    this.#choices("stage", [anyChoice, ...stagesOf(listed).map(same)]);
    this.#choices("before", measured.map(same), measured[ofsd - 1]);
    this.#choices("after", measured.map(same), measured[ofsd]);
    this.#choices("set", [anyChoice, ...[...new Set(listed.map(({ set }) => set))].map(same)]);
    for (const [name, field] of this.#fields) {
      field.hidden = name === "stage"
        ? mode === "stages"
        : ["before", "after", "changed"].includes(name) && mode !== "stages";
    }
    const whose = mode === "stages" ? " after" : siblings ? " of student" : "";
    for (const [name, label] of [["verdict", "Answer"], ["searches", "Searches"]] as const) {
      this.#fields.get(name)!.querySelector("span")!.textContent = label + whose;
    }

    const form = new FormData(this.#form);
    const filters = { ...Object.fromEntries(form), mode, changed: form.has("changed") } as Filters;
    const all = this.#all(filters);
    this.#entries = all.filter((entry) => this.#passes(entry, filters));
    const what = mode === "single" ? "transcripts" : mode === "stages" ? "questions" : "pairs";
    this.#count.textContent = `${this.#entries.length} of ${all.length} ${what}`;
    if (this.#index < 0) {
      this.#selected = this.#entries[0]?.key ?? "";
      this.#limit = pageSize;
    }
    this.#limit = Math.max(this.#limit, this.#index + 1);
    this.#drawList();
    this.#drawDetail();
  }

  /** The rows of a mode, before the filters. */
  #all({ mode, before, after }: Filters): Entry[] {
    const { transcripts, pairs } = this.#data!;
    if (mode === "siblings") {
      return keyed(pairs.map(({ sibling, student }) => [
        { label: "sibling, shown to the teacher", transcript: sibling },
        { label: "student, trained on", transcript: student },
      ]));
    }
    if (mode === "single") return keyed(transcripts.map((transcript) => [{ label: "", transcript }]));
    const question = ({ set, questionId }: Transcript) => JSON.stringify([set, questionId]);
    const earlier = new Map(transcripts.filter(({ stage }) => stage === before).map((t) => [question(t), t]));
    const later = new Map(transcripts.filter(({ stage }) => stage === after).map((t) => [question(t), t]));
    return keyed(
      [...later].filter(([id]) => earlier.has(id)).map(([id, transcript]) => [
        { label: `after ${before}`, transcript: earlier.get(id)! },
        { label: `after ${after}`, transcript },
      ]),
    );
  }

  #passes({ shown }: Entry, { mode, stage, set, verdict, searches, text, changed }: Filters): boolean {
    const one = shown.at(-1)!.transcript;
    const first = shown[0]!.transcript;
    const found = () =>
      shown.some(({ transcript }) =>
        `${this.#question(transcript)}\n${transcript.answer ?? ""}`.toLowerCase().includes(
          text.trim().toLowerCase(),
        )
      );
    return (mode === "stages" || stage === "" || one.stage === stage) &&
      (set === "" || one.set === set) &&
      (verdict === "" || one.correct === (verdict === "right")) &&
      (searches === "" || Math.min(one.searches, 4) === Number(searches)) &&
      (mode !== "stages" || !changed || one.correct !== first.correct || one.searches !== first.searches) &&
      (text.trim() === "" || found());
  }

  #question({ parts }: Transcript): string {
    return this.#questionOf(parts.filter(([author]) => author === "prompt").map(([, text]) => text).join(""));
  }

  get #index(): number {
    return this.#entries.findIndex(({ key }) => key === this.#selected);
  }

  #drawList() {
    const shown = this.#entries.slice(0, this.#limit);
    this.#more.hidden = shown.length === this.#entries.length;
    this.#more.textContent = `Show ${Math.min(pageSize, this.#entries.length - shown.length)} more`;
    const listed = JSON.stringify(shown.map(({ key, shown }) => [
      key,
      ...shown.map(({ transcript }) => [transcript.answer, transcript.correct, facts(transcript)]),
    ]));
    if (listed !== this.#listed) {
      this.#listed = listed;
      const focused = this.#list.contains(document.activeElement);
      const { scrollTop } = this.#list;
      this.#list.replaceChildren(...shown.map((entry, i) => this.#option(entry, i)));
      this.#list.scrollTop = scrollTop;
      if (focused) this.#optionAt(this.#index)?.focus({ preventScroll: true });
    }
    this.#mark();
  }

  #option({ shown }: Entry, index: number): HTMLElement {
    const transcript = shown.at(-1)!.transcript;
    const option = make(
      "li",
      { role: "option" },
      make("span", { className: "question" }, this.#question(transcript)),
      ...shown.map(({ label, transcript }) =>
        make(
          "span",
          { className: "outcome" },
          label === "" ? "" : make("span", { className: "muted" }, `${label.split(",")[0]}: `),
          verdict(transcript),
          ` ${transcript.answer ?? "no answer"} · ${facts(transcript)}`,
        )
      ),
      make("span", { className: "muted outcome" }, `${transcript.stage} · ${transcript.set}`),
    );
    option.dataset.index = String(index);
    return option;
  }

  #optionAt(index: number): HTMLElement | undefined {
    return this.#list.children[index] as HTMLElement | undefined;
  }

  /** Marks the chosen row, the only one that the tab key reaches. */
  #mark() {
    const index = this.#index;
    for (const [i, option] of [...this.#list.children].entries()) {
      option.ariaSelected = String(i === index);
      (option as HTMLElement).tabIndex = i === index ? 0 : -1;
    }
  }

  #choose(index: number, focus: boolean) {
    const entry = this.#entries[index];
    if (!entry) return;
    this.#selected = entry.key;
    if (index >= this.#limit) this.#limit += pageSize;
    this.#drawList();
    this.#drawDetail();
    const option = this.#optionAt(index)!;
    // The list scrolls, the page stays.
    const top = option.offsetTop;
    if (top < this.#list.scrollTop) this.#list.scrollTop = top;
    const overflow = top + option.offsetHeight - this.#list.clientHeight;
    if (overflow > this.#list.scrollTop) this.#list.scrollTop = overflow;
    if (focus) option.focus({ preventScroll: true });
  }

  #step(event: KeyboardEvent) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const last = this.#entries.length - 1;
    const targets: Record<string, number> = {
      j: Math.min(last, this.#index + 1),
      ArrowDown: Math.min(last, this.#index + 1),
      k: Math.max(0, this.#index - 1),
      ArrowUp: Math.max(0, this.#index - 1),
      Home: 0,
      End: Math.min(last, this.#limit - 1),
    };
    const target = targets[event.key];
    if (target === undefined) return;
    event.preventDefault();
    this.#choose(target, true);
  }

  #drawDetail() {
    const entry = this.#entries[this.#index];
    this.#previous.disabled = this.#index <= 0;
    this.#next.disabled = this.#index >= this.#entries.length - 1;
    this.#place.textContent = entry ? `${this.#index + 1} of ${this.#entries.length}` : "";
    const detailed = JSON.stringify(entry ?? "");
    if (detailed === this.#detailed) return;
    this.#detailed = detailed;
    const none = this.#data!.transcripts.length + this.#data!.pairs.length === 0
      ? "No transcripts yet."
      : "Nothing fits these filters.";
    this.#transcripts.replaceChildren(
      ...entry ? entry.shown.map(transcriptArticle) : [make("p", { className: "muted" }, none)],
    );
  }

  #modes(): HTMLElement {
    const modes = Object.entries({
      single: "One at a time",
      stages: "Before and after",
      siblings: "Siblings",
    });
    return make(
      "fieldset",
      { className: "modes" },
      make("legend", { className: "unseen" }, "What to show"),
      ...modes.map(([value, label], i) =>
        make(
          "label",
          {},
          make("input", { type: "radio", name: "mode", value, defaultChecked: i === 0 }),
          label,
        )
      ),
    );
  }

  #field(name: string, label: string, control: HTMLElement): HTMLElement {
    const field = make("label", { className: `field field-${name}` }, make("span", {}, label), control);
    this.#fields.set(name, field);
    return field;
  }

  #select(name: string, label: string, choices: [string, string][] = []): HTMLElement {
    const field = this.#field(name, label, make("select", { name }));
    this.#choices(name, choices);
    return field;
  }

  /** Offers choices; what the reader chose stays while it is among them, else the usual one is taken. */
  #choices(name: string, choices: [value: string, label: string][], usual = choices[0]?.[0]) {
    const select = this.#fields.get(name)!.querySelector("select")!;
    const offered = JSON.stringify(choices);
    if (select.dataset.offered === offered) return;
    select.dataset.offered = offered;
    const kept = choices.find(([value]) => "chosen" in select.dataset && value === select.value)?.[0] ??
      usual;
    select.replaceChildren(...choices.map(([value, label]) => make("option", { value }, label)));
    if (kept !== undefined) select.value = kept;
  }
}

function transcriptArticle({ label, transcript }: Entry["shown"][number]): HTMLElement {
  const { stage, set, questionId, gold, parts, answer, reward } = transcript;
  const title = label === "" ? `${stage} · ${set}` : `${label} · ${set}`;
  return make(
    "article",
    { className: "transcript", ariaLabel: title },
    make("h4", {}, title),
    make(
      "p",
      { className: "outcome" },
      verdict(transcript, true),
      ` · ${facts(transcript)} · reward ${reward}`,
    ),
    make(
      "p",
      { className: "outcome" },
      make("span", { className: "muted" }, "answer "),
      answer ?? "none",
      make("span", { className: "muted" }, " · gold "),
      gold.length > 0 ? gold.join(" | ") : "not recorded",
      make("span", { className: "muted" }, ` · ${questionId}`),
    ),
    ...parts.filter(([, text]) => text.trim() !== "").map(([author, text]) =>
      make(
        "div",
        { className: `part ${author}` },
        make("span", { className: "author" }, author),
        make("div", { className: "text" }, ...tagged(text.replace(/^\s*\n|\s+$/g, ""))),
      )
    ),
  );
}

/** The text with the agent's tags marked, and what stands between them. */
function tagged(text: string): Node[] {
  let inside = "";
  return text.split(/(<\/?(?:think|search|answer|information)>)/).map((piece) => {
    const tag = piece.match(/^<(\/?)(think|search|answer|information)>$/);
    if (!tag) {
      return inside === "" ? document.createTextNode(piece) : make("span", { className: inside }, piece);
    }
    inside = tag[1] === "" ? `in-${tag[2]}` : "";
    return make("span", { className: "tag" }, piece);
  });
}

function verdict({ correct }: Transcript, worded = false): HTMLElement {
  return make(
    "span",
    { className: `verdict ${correct ? "right" : "wrong"}` },
    make("span", { ariaHidden: "true" }, correct ? "✓" : "✗"),
    make("span", { className: worded ? "" : "unseen" }, correct ? " right" : " wrong"),
  );
}

function facts({ searches, tokens }: Transcript): string {
  return `${searches} ${searches === 1 ? "search" : "searches"} · ${tokens} tokens`;
}

/** Entries with keys that stay the same when others are added. */
function keyed(all: Entry["shown"][]): Entry[] {
  const seen = new Map<string, number>();
  return all.map((shown) => {
    const key = JSON.stringify(
      shown.map(({ transcript: { stage, set, questionId } }) => [stage, set, questionId]),
    );
    const times = seen.get(key) ?? 0;
    seen.set(key, times + 1);
    return { key: `${key} ${times}`, shown };
  });
}

function same(value: string): [string, string] {
  return [value, value];
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

customElements.define("transcript-browser", TranscriptBrowser);
