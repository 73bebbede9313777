/**
 * A trajectory as people read it: who wrote what, by colour on a terminal and by a mark in the margin everywhere.
 *
 * @module
 */
import type { Tokenizer } from "../model/policy.ts";
import { modelTokenCount, searchCount, type Trajectory } from "../rollout/trajectory.ts";

/** Who wrote a stretch of a trajectory. */
export type Author = "prompt" | "model" | "environment";

/** A stretch of a trajectory with one author. */
export interface Stretch {
  author: Author;
  text: string;
}

/**
 * The stretches of a trajectory in order; their tokens are decoded stretch by stretch.
 *
 * @example
 * ```ts
 * import { stretches, type Trajectory } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * const pieces = ["Who?", "<answer>Ada</answer>", "\n"];
 * const tokenizer = { decode: (ids: readonly number[]) => ids.map((id) => pieces[id]).join("") };
 * const trajectory = { tokens: [0, 1, 2], mask: [0, 1, 0], promptLength: 1, turns: [], answer: "Ada", rewards: {} };
 * const authors = stretches(trajectory as unknown as Trajectory, tokenizer).map(({ author }) => author);
 * assertEquals(authors, ["prompt", "model", "environment"]);
 * ```
 */
export function stretches(trajectory: Trajectory, tokenizer: Pick<Tokenizer, "decode">): Stretch[] {
  const { tokens, mask, promptLength } = trajectory;
  const authorOf = (i: number): Author => i < promptLength ? "prompt" : mask[i] ? "model" : "environment";
  const out: Stretch[] = [];
  for (let start = 0; start < tokens.length;) {
    let end = start + 1;
    while (end < tokens.length && authorOf(end) === authorOf(start)) end++;
    out.push({ author: authorOf(start), text: tokenizer.decode(tokens.slice(start, end)) });
    start = end;
  }
  return out;
}

const marks: Readonly<Record<Author, string>> = { prompt: "?", model: ">", environment: "<" };
const colours: Readonly<Record<Author, string>> = {
  prompt: "\x1b[1m",
  model: "\x1b[32m",
  environment: "\x1b[2m",
};

/**
 * A transcript for the terminal: `?` is the prompt, `>` what the model wrote, `<` what the environment wrote.
 *
 * @param options.colour Also colour the lines; leave it off when the output is piped or NO_COLOR is set.
 *
 * @example
 * ```ts
 * import { type Trajectory, transcriptText } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * const pieces = ["Who?", "<answer>Ada</answer>", "\n"];
 * const tokenizer = { decode: (ids: readonly number[]) => ids.map((id) => pieces[id]).join("") };
 * const trajectory = { tokens: [0, 1, 2], mask: [0, 1, 0], promptLength: 1, turns: [], answer: "Ada", rewards: {} };
 * const text = transcriptText(trajectory as unknown as Trajectory, tokenizer, { colour: false });
 * assertEquals(text, '? Who?\n> <answer>Ada</answer>\n= answer "Ada"; 0 searches, 1 tokens by the model');
 * ```
 */
export function transcriptText(
  trajectory: Trajectory,
  tokenizer: Pick<Tokenizer, "decode">,
  options: { colour: boolean },
): string {
  const lines = stretches(trajectory, tokenizer).flatMap(({ author, text }) =>
    text.split("\n").filter((line) => line.trim() !== "").map((line) => {
      const marked = `${marks[author]} ${line}`;
      return options.colour ? `${colours[author]}${marked}\x1b[0m` : marked;
    })
  );
  return [...lines, summary(trajectory)].join("\n");
}

/**
 * Text with the characters that HTML reads as markup replaced.
 *
 * @example
 * ```ts
 * import { escapeHtml } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(escapeHtml("<search>A & B</search>"), "&lt;search&gt;A &amp; B&lt;/search&gt;");
 * ```
 */
export function escapeHtml(text: string): string {
  const entities: Record<string, string> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };
  return text.replace(/[&<>"]/g, (character) => entities[character]!);
}

function summary(trajectory: Trajectory): string {
  const answer = trajectory.answer === null ? "no answer" : `answer ${JSON.stringify(trajectory.answer)}`;
  const verdict = Object.keys(trajectory.rewards).length === 0
    ? ""
    : trajectory.correct
    ? ", right"
    : ", wrong";
  return `= ${answer}${verdict}; ${searchCount(trajectory)} searches, ${
    modelTokenCount(trajectory)
  } tokens by the model`;
}
