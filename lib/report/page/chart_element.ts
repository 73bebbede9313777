/**
 * `<vega-chart>`: a chart with its title and one sentence, drawn by Vega's UMD build, which the page carries as the global
 * `vega`. New values go into the chart that stands; it is drawn anew when its spec or the theme changes.
 *
 * @module
 */
import type { Chart } from "../page_data.ts";

declare const vega: typeof import("vega");

type View = InstanceType<typeof vega.View>;

class VegaChart extends HTMLElement {
  #chart: Chart | undefined;
  #view: View | undefined;
  /** What is drawn now, to leave alone what has not changed. */
  #spec = "";
  #values = "";
  #theme = "";
  #width = 0;
  #title = document.createElement("h3");
  #about = document.createElement("p");
  #drawing = document.createElement("div");
  #empty = document.createElement("p");
  #tooltip = document.createElement("div");

  constructor() {
    super();
    this.#drawing.className = "drawing";
    this.#drawing.role = "img";
    this.#empty.className = "muted";
    this.#empty.textContent = "No values yet.";
    this.#tooltip.className = "chart-tooltip";
    this.#tooltip.hidden = true;
    new ResizeObserver(() => this.#resize()).observe(this.#drawing);
    new MutationObserver(() => this.#draw()).observe(document.documentElement, {
      attributeFilter: ["data-theme"],
    });
  }

  connectedCallback() {
    const figure = document.createElement("figure");
    const caption = document.createElement("figcaption");
    caption.append(this.#title, this.#about);
    figure.append(caption, this.#empty, this.#drawing, this.#tooltip);
    this.replaceChildren(figure);
    // Each chart is a task of its own, so that the page answers while many are drawn.
    setTimeout(() => this.#draw());
  }

  set chart(chart: Chart) {
    this.#chart = chart;
    this.#title.textContent = chart.title;
    this.#about.textContent = chart.about;
    this.#drawing.ariaLabel = `Chart: ${chart.title}. ${chart.about}`;
    if (this.#view) this.#draw();
  }

  #draw() {
    const chart = this.#chart;
    if (!chart || !this.isConnected) return;
    this.#empty.hidden = chart.values.length > 0;
    this.#drawing.hidden = chart.values.length === 0;
    const spec = JSON.stringify(chart.spec);
    const values = JSON.stringify(chart.values);
    const theme = document.documentElement.dataset.theme ?? "light";
    if (this.#view && spec === this.#spec && theme === this.#theme) {
      // Vega marks the objects that it is given, so it gets its own.
      if (values !== this.#values) this.#view.data("values", JSON.parse(values)).runAsync();
      this.#values = values;
      return;
    }
    [this.#spec, this.#values, this.#theme] = [spec, values, theme];
    this.#view?.finalize();
    const themes = JSON.parse(document.getElementById("themes")!.textContent!);
    this.#width = this.#drawing.clientWidth;
    const fitted = this.#fits && this.#width > 0
      ? { ...chart.spec, width: this.#width, autosize: { type: "fit-x", contains: "padding" } as const }
      : chart.spec;
    this.#view = new vega.View(vega.parse(fitted, themes[theme]), {
      renderer: "svg",
      container: this.#drawing,
      hover: true,
      logLevel: vega.Error,
    });
    this.#view.tooltip((_, event, __, value) => this.#showTooltip(event as MouseEvent, value));
    this.#view.data("values", JSON.parse(values)).run();
  }

  /** Whether the plot's width is free: a row of plots or of bars has the width that it needs. */
  get #fits(): boolean {
    return typeof this.#chart?.spec.width === "number";
  }

  #resize() {
    const width = this.#drawing.clientWidth;
    if (!this.#view || !this.#fits || width === 0 || width === this.#width) return;
    this.#width = width;
    this.#view.width(width).runAsync();
  }

  #showTooltip(event: MouseEvent, value: unknown) {
    const box = this.#tooltip;
    box.hidden = value === undefined || value === null || value === "";
    if (box.hidden) return;
    const fields = typeof value === "object" ? Object.entries(value as object) : [["", value]];
    box.replaceChildren(...fields.flatMap(([name, shown]) => {
      const label = document.createElement("span");
      label.className = "muted";
      label.textContent = String(name);
      const text = document.createElement("span");
      text.textContent = typeof shown === "number" ? String(Number(shown.toPrecision(4))) : String(shown);
      return [label, text];
    }));
    const { offsetWidth, offsetHeight } = box;
    const left = Math.min(event.clientX + 12, innerWidth - offsetWidth - 8);
    const below = event.clientY + 16;
    const top = below + offsetHeight > innerHeight ? event.clientY - offsetHeight - 8 : below;
    box.style.left = `${Math.max(8, left)}px`;
    box.style.top = `${Math.max(8, top)}px`;
  }
}

customElements.define("vega-chart", VegaChart);
