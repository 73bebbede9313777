/** The two contexts of offline self-distillation, token by token, as HTML that carries its own style. @module */
import { privilegedPair } from "../learn/privileged_context.ts";
import type { Tokenizer } from "../model/policy.ts";
import type { Trajectory } from "../rollout/trajectory.ts";
import { escapeHtml } from "./transcript.ts";

const styles = {
  prompt: "background:#e8e8e8;color:#222",
  block: "background:#f6d9a8;color:#402a00",
  environment: "color:#777",
  distilled: "background:#cfe8d6;color:#0b4d22;font-weight:600",
} as const;

/**
 * What teacher and student read, one strip each: the prompt, the privileged block, which the teacher alone reads, and the
 * same trajectory, in which the tokens that carry loss stand out from what the environment wrote.
 *
 * @param block The block's ids.
 *
 * @example
 * ```ts
 * import { contextStripsHtml } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * const words = ["Who?", "<hint>", "Ada"];
 * const tokenizer = { decode: (ids: readonly number[]) => ids.map((id) => words[id]).join("") };
 * const html = contextStripsHtml({ tokens: [0, 2], promptLength: 1, mask: [0, 1] }, [1], tokenizer);
 * assertEquals(html.split("Ada").length - 1, 2); // in both
 * assertEquals(html.split("&lt;hint&gt;").length - 1, 1); // the teacher's alone
 * ```
 */
export function contextStripsHtml(
  trajectory: Pick<Trajectory, "tokens" | "promptLength" | "mask">,
  block: readonly number[],
  tokenizer: Pick<Tokenizer, "decode">,
): string {
  const { teacher, student } = privilegedPair(trajectory, block);
  const { promptLength } = trajectory;
  const strip = (name: string, { tokens, mask }: typeof teacher, blockLength: number) => {
    const kind = (i: number): keyof typeof styles => {
      if (i < promptLength) return "prompt";
      if (i < promptLength + blockLength) return "block";
      return mask[i] ? "distilled" : "environment";
    };
    const tokenSpans = tokens.map((id, i) => span(styles[kind(i)], tokenizer.decode([id])));
    return `<div style="margin-bottom:.6em"><b>${name}</b> (${tokens.length} tokens)<br>${
      tokenSpans.join("")
    }</div>`;
  };
  const legend = Object.entries(styles).map(([kind, style]) => span(style, kind)).join("");
  return `<div style="font-family:ui-monospace,monospace;font-size:12px;line-height:1.9;background:#fff;color:#222;padding:.6em">${
    strip("teacher reads", teacher, block.length)
  }${strip("student reads", student, 0)}<div>${legend}</div></div>`;
}

function span(style: string, text: string): string {
  const shown = escapeHtml(text.trim() === "" ? text.replaceAll("\n", "⏎") : text.trim());
  return `<span style="${style};border:1px solid #bbb;border-radius:3px;padding:0 3px;margin-right:2px">${shown}</span> `;
}
