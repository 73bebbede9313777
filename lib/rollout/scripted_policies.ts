/**
 * Policies by rule over the atlas. They give the bounds that a trained policy is measured against, and the demonstrations
 * it starts from. They know the chain of relations that a question asks for, and of facts only what they have read.
 *
 * @module
 */
import type { Document, Retriever } from "../search/retriever.ts";
import type { AtlasQuestion } from "../world/atlas_questions.ts";
import { factsIn, type Relation } from "../world/sentences.ts";

/** `naive` looks up one fact a search; `efficient` asks for two at once and falls back on one. */
export type ScriptedPolicy = "naive" | "efficient";

/** One turn of a scripted policy. */
export interface ScriptedTurn {
  kind: "search" | "answer" | "invalid";
  content: string;
  documents: Document[];
}

/** What a scripted policy answered, and after how many searches. */
export interface ScriptedResult {
  answer: string;
  searches: number;
}

/** Searches that are answered in one roll-out. */
export const scriptedSearches = 4;

/** How far along its chain of facts a question has been read. */
export class ChainReader {
  /** The last thing found out: the start, a bridge, or the answer. */
  current: string;
  #relations: Relation[];
  #known = new Map<string, string>();

  constructor({ chain }: AtlasQuestion) {
    this.current = chain.start;
    this.#relations = [...chain.relations];
  }

  /** The relations still to be found out. */
  get open(): readonly Relation[] {
    return this.#relations;
  }

  /** Takes in what documents tell; `only` the fact that was asked for, where given. */
  read(documents: readonly Document[], only?: Relation): void {
    for (const { subject, relation, object } of documents.flatMap(factsIn)) {
      const asked = only === undefined || (subject === this.current && relation === only);
      if (asked) this.#known.set(`${subject} ${relation}`, object);
    }
    for (;;) {
      const next = this.#relations.length > 0
        ? this.#known.get(`${this.current} ${this.#relations[0]}`)
        : undefined;
      if (next === undefined) return;
      this.current = next;
      this.#relations.shift();
    }
  }
}

/**
 * The turns of a scripted policy on one question, ending with its answer: the last thing it found out.
 *
 * @param topK Documents a search returns.
 *
 * @example
 * ```ts
 * import { buildAtlas, createBm25, sampleQuestions, scriptedTurns } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * const atlas = buildAtlas({ seed: "real" });
 * const question = sampleQuestions(atlas, 1, 0, { hopShares: [1] })[0]!;
 * const turns = await scriptedTurns("naive", question, createBm25({ documents: atlas.documents }), 1);
 * assertEquals(turns.map(({ kind }) => kind), ["search", "answer"]);
 * ```
 */
export async function scriptedTurns(
  policy: ScriptedPolicy,
  question: AtlasQuestion,
  retriever: Retriever,
  topK: number,
): Promise<ScriptedTurn[]> {
  const reader = new ChainReader(question);
  const turns: ScriptedTurn[] = [];
  let askForTwo = policy === "efficient";
  while (reader.open.length > 0 && turns.length < scriptedSearches) {
    const [next, afterNext] = reader.open;
    const query = `${reader.current} ${askForTwo && afterNext ? afterNext : next}`;
    const documents = await searchOne(retriever, query, topK);
    turns.push({ kind: "search", content: query, documents });
    const before = reader.open.length;
    reader.read(documents, policy === "naive" ? next : undefined);
    if (reader.open.length === before) {
      if (!askForTwo) break;
      askForTwo = false;
    }
  }
  turns.push({ kind: "answer", content: reader.current, documents: [] });
  return turns;
}

/**
 * A scripted policy's answer to one question.
 *
 * @example
 * ```ts
 * import { buildAtlas, createBm25, sampleQuestions, scriptedRollout } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * const atlas = buildAtlas({ seed: 1 });
 * const question = sampleQuestions(atlas, 1, 0, { hopShares: [0, 1, 0] })[0]!;
 * const retriever = createBm25({ documents: atlas.documents });
 * assertEquals(await scriptedRollout("naive", question, retriever, 1), { answer: question.answers[0]!, searches: 2 });
 * ```
 */
export async function scriptedRollout(
  policy: ScriptedPolicy,
  question: AtlasQuestion,
  retriever: Retriever,
  topK: number,
): Promise<ScriptedResult> {
  const turns = await scriptedTurns(policy, question, retriever, topK);
  return { answer: turns.at(-1)!.content, searches: turns.length - 1 };
}

/** The documents that one query finds. */
export async function searchOne(retriever: Retriever, query: string, topK: number): Promise<Document[]> {
  const [hits] = await retriever.search([query], topK);
  return hits!.map(({ document }) => document);
}
