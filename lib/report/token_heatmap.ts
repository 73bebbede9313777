/** The token-level KL over one trajectory as HTML that carries its own style, for notebooks. @module */
import type { Heatmap, HeatmapToken } from "./page_data.ts";
import { escapeHtml } from "./transcript.ts";

/** Divergence, in nats, that gets the full colour. */
const full = 2;

/**
 * The tokens of a trajectory on a background that is the darker the larger the KL is; what the model did not write is grey.
 * Pointing at a token shows its KL and the likeliest tokens of teacher and student.
 *
 * @example
 * ```ts
 * import { tokenHeatmapHtml } from "@search-e1/kit";
 * import { assertStringIncludes } from "@std/assert";
 *
 * const token = { text: "Lima", author: "model", kl: 0.7, teacher: [["Lima", 0.9]], student: [["Peru", 0.6]] } as const;
 * const html = tokenHeatmapHtml({ block: "", tokens: [{ ...token, teacher: [["Lima", 0.9]], student: [["Peru", 0.6]] }] });
 * assertStringIncludes(html, "KL 0.700 nats");
 * ```
 */
export function tokenHeatmapHtml({ tokens, block }: Pick<Heatmap, "tokens" | "block">): string {
  const shownBlock = block === ""
    ? ""
    : `<div style="color:#555;margin-bottom:.5em">The teacher also reads: <code>${
      escapeHtml(block)
    }</code></div>`;
  const legend = [0, 0.1, 0.5, 1, full].map((kl) =>
    `<span style="${tokenStyle(kl)}">${kl}${kl === full ? " or more" : ""}</span>`
  ).join(" ");
  return `<div style="font-family:ui-monospace,monospace;font-size:13px;line-height:2;background:#fff;color:#222;padding:.6em">${shownBlock}<div>${
    tokens.map(tokenSpan).join("")
  }</div><div style="color:#555;margin-top:.5em">KL in nats: ${legend}</div></div>`;
}

function tokenSpan({ text, kl, teacher, student }: HeatmapToken): string {
  const shown = escapeHtml(text.replaceAll("\n", "⏎"));
  if (kl === null) return `<span style="color:#777">${shown}</span> `;
  const list = (alternatives: HeatmapToken["teacher"]) =>
    alternatives.map(([other, p]) => `${other.trim() || JSON.stringify(other)} ${p.toFixed(3)}`).join(", ");
  const title = `KL ${kl.toFixed(3)} nats&#10;teacher: ${escapeHtml(list(teacher))}&#10;student: ${
    escapeHtml(list(student))
  }`;
  return `<span style="${tokenStyle(kl)}" title="${title}">${shown}</span> `;
}

/** Orange by the square root of the share of the full colour, so that small values are seen; the text stays dark. */
function tokenStyle(kl: number): string {
  const strength = Math.sqrt(Math.min(1, Math.max(0, kl) / full));
  return `background:rgba(230,120,0,${
    (0.85 * strength).toFixed(2)
  });border:1px solid #bbb;border-radius:3px;padding:1px 3px;color:#111`;
}
