/**
 * The two contexts of offline self-distillation (arXiv 2605.22511): the teacher reads prompt + privileged block + y, the
 * student prompt + y, with the very same token ids y.
 *
 * @module
 */
import { shuffled } from "../base/random.ts";
import { strip } from "../base/white_space.ts";
import type { Tokenizer } from "../model/policy.ts";
import { formatDocuments } from "../rollout/environment.ts";
import { type HintMode, hintText } from "../rollout/hint.ts";
import type { Trajectory } from "../rollout/trajectory.ts";
import type { Sequence } from "./batch.ts";
import type { SiblingPair } from "./siblings.ts";

/** One trajectory in both contexts. Both masks ask for the same tokens in the same order. */
export interface PrivilegedPair {
  teacher: Sequence;
  student: Sequence;
}

/**
 * Puts a trajectory behind its prompt with and without the privileged block. Masks cover what the model wrote; prompt,
 * block, documents and notices are 0.
 *
 * @param block The block's ids, which stand between prompt and y. None is the control without privilege.
 * @param mask Which tokens of the trajectory are distilled, as long as `tokens`; those that the model wrote when left out.
 * @throws {Error} when the mask asks for a token that the model did not write.
 *
 * @example
 * ```ts
 * import { privilegedPair } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * const y = { tokens: [5, 6, 7], promptLength: 1, mask: [0, 1, 1] };
 * const { teacher, student } = privilegedPair(y, [9, 9]);
 * assertEquals(teacher, { tokens: [5, 9, 9, 6, 7], mask: [0, 0, 0, 1, 1] });
 * assertEquals(student, { tokens: [5, 6, 7], mask: [0, 1, 1] });
 * ```
 */
export function privilegedPair(
  trajectory: Pick<Trajectory, "tokens" | "promptLength" | "mask">,
  block: readonly number[],
  mask: readonly number[] = trajectory.mask,
): PrivilegedPair {
  const { tokens, promptLength } = trajectory;
  const stray = mask.findIndex((m, i) => m !== 0 && trajectory.mask[i] !== 1);
  if (stray >= 0 || mask.length !== tokens.length) {
    throw new Error(
      `Cannot distil token ${
        stray >= 0 ? stray : mask.length
      }: the model wrote no such token of the trajectory`,
    );
  }
  const teacher = {
    tokens: [...tokens.slice(0, promptLength), ...block, ...tokens.slice(promptLength)],
    mask: [...mask.slice(0, promptLength), ...block.map(() => 0), ...mask.slice(promptLength)],
  };
  const pair = { teacher, student: { tokens: [...tokens], mask: [...mask] } };
  assertSameTokens(pair);
  return pair;
}

/** Throws unless teacher and student are asked for the same token ids in the same order. */
function assertSameTokens({ teacher, student }: PrivilegedPair): void {
  const [a, b] = [teacher, student].map(({ tokens, mask }) => tokens.filter((_, t) => mask[t] === 1));
  const differs = a!.findIndex((id, i) => id !== b![i]);
  if (differs >= 0 || a!.length !== b!.length) {
    throw new Error(
      `Cannot distil: model token ${differs} is ${a![differs]} for the teacher and ${
        b![differs]
      } for the student`,
    );
  }
}

/**
 * The ids of the block that shows a sibling: its searches, what they found, and its answer, as far as the mode goes. Turns
 * without an action are left out.
 *
 * @example
 * ```ts
 * import { privilegedBlock, type Tokenizer, type Trajectory } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * const turns = [{ kind: "search", content: "Lima", documents: [] }, { kind: "answer", content: "Peru", documents: [] }];
 * const tokenizer = { encode: (text: string) => [...text] } as unknown as Tokenizer;
 * const block = privilegedBlock({ turns } as unknown as Trajectory, "queries", tokenizer);
 * assertEquals(block.join(""), "<hint><search>Lima</search></hint>");
 * ```
 */
export function privilegedBlock(sibling: Trajectory, mode: HintMode, tokenizer: Tokenizer): number[] {
  const turns = sibling.turns.flatMap(({ kind, content, documents }) =>
    kind === "invalid" ? [] : [{ kind, content, informationText: formatDocuments(documents) }]
  );
  return tokenizer.encode(hintText(turns, mode));
}

/**
 * Whose sibling each pair's teacher is shown: its own, or, as a control, one of another question (`shuffled`).
 *
 * @param random Draws the order of the questions; each gets the sibling of the next.
 * @throws {Error} when `shuffled` is asked for and all pairs are of one question.
 *
 * @example
 * ```ts
 * import { randomStream, shownSiblings, type SiblingPair } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * const pairs = ["a", "b"].map((questionId) => ({ questionId, sibling: { questionId } })) as SiblingPair[];
 * const shown = shownSiblings(pairs, "shuffled", randomStream(1, "shuffle"));
 * assertEquals(shown.map(({ questionId }) => questionId), ["b", "a"]);
 * ```
 */
export function shownSiblings(
  pairs: readonly SiblingPair[],
  control: "own" | "shuffled",
  random: () => number,
): Trajectory[] {
  if (control === "own") return pairs.map(({ sibling }) => sibling);
  const siblings = new Map(pairs.map(({ questionId, sibling }) => [questionId, sibling]));
  const order = shuffled([...siblings.keys()], random);
  if (order.length < 2) throw new Error("Cannot shuffle siblings: all pairs are of one question");
  const next = new Map(order.map((id, i) => [id, siblings.get(order[(i + 1) % order.length]!)!]));
  return pairs.map(({ questionId }) => next.get(questionId)!);
}

/**
 * 1 on the tokens that write a query, strictly between `<search>` and `</search>`, as long as `tokens`. A token that holds
 * part of a tag and part of the query counts.
 *
 * @example
 * ```ts
 * import { queryMask, type Tokenizer, type Trajectory } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * const pieces = ["?", "<search>", "Lima", "</search>"];
 * const tokenizer = { decode: (ids: number[]) => ids.map((id) => pieces[id]).join("") } as unknown as Tokenizer;
 * const trajectory = { tokens: [0, 1, 2, 3], turns: [{ kind: "search", span: [1, 4] }] } as unknown as Trajectory;
 * assertEquals(queryMask(trajectory, tokenizer), [0, 0, 1, 0]);
 * ```
 */
export function queryMask(trajectory: Trajectory, tokenizer: Tokenizer): number[] {
  const mask = trajectory.tokens.map(() => 0);
  for (const { kind, span: [start, end] } of trajectory.turns) {
    if (kind !== "search") continue;
    const ids = trajectory.tokens.slice(start, end);
    const [from, to] = querySpan(tokenizer.decode(ids));
    let written = 0;
    for (let i = 0; i < ids.length; i++) {
      const before = written;
      written = tokenizer.decode(ids.slice(0, i + 1)).length;
      if (written > from && before < to) mask[start + i] = 1;
    }
  }
  return mask;
}

/** Where the query of a turn's text lies, without white space at its ends: [start, end) in UTF-16 units. */
function querySpan(text: string): [number, number] {
  const match = /<(search|answer)>([\s\S]*?)<\/\1>/.exec(text);
  if (match?.[1] !== "search") throw new Error(`Cannot find the query of a search turn: "${text}"`);
  const query = strip(match[2]!);
  const start = match.index + "<search>".length + match[2]!.indexOf(query);
  return [start, start + query.length];
}
