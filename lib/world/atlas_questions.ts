/** The questions of an atlas: every chain of one, two or three facts, asked in plain English. */
import { InputError } from "../base/input_error.ts";
import { randomStream, shuffled } from "../base/random.ts";
import type { Atlas } from "./atlas.ts";
import type { Question } from "./question.ts";
import type { Fact, Relation } from "./sentences.ts";

/** The facts that answer a question, in order: each value is the relation of the value before it. */
export interface Chain {
  start: string;
  relations: Relation[];
  /** One value a relation; the last is the answer. */
  values: string[];
}

/** A question with the chain of facts behind it. */
export interface AtlasQuestion extends Question {
  hops: number;
  chain: Chain;
}

/** How questions are drawn. */
export interface SampleOptions {
  /** Stands in the question's id: `atlas-<name>/<split>/<index>`. */
  split?: string;
  /** Shares of questions with one, two and three hops. */
  hopShares?: readonly number[];
}

const asked: Record<Relation, string> = {
  city: "Which city does {x} serve?",
  country: "In which country does {x} lie?",
  capital: "What is the capital of {x}?",
  currency: "Which currency is used in {x}?",
  language: "Which language is spoken in {x}?",
  continent: "On which continent is {x}?",
};

/**
 * Every question of an atlas in a fixed order. Left out are the few whose answer stands in the question ("What is the
 * capital of the country where Cairo lies?").
 */
export function allQuestions(atlasName: string, facts: readonly Fact[]): AtlasQuestion[] {
  const bySubject = Map.groupBy(facts, ({ subject }) => subject);
  const chains: Chain[] = [];
  const extend = (chain: Chain, facts: readonly Fact[]) => {
    for (const { relation, object } of facts) {
      const longer = {
        start: chain.start,
        relations: [...chain.relations, relation],
        values: [...chain.values, object],
      };
      if (object !== chain.start) chains.push(longer);
      if (relation === "city" || relation === "country") extend(longer, bySubject.get(object) ?? []);
    }
  };
  for (const [start, own] of bySubject) extend({ start, relations: [], values: [] }, own);
  return chains.map((chain, index) => ({
    id: `atlas-${atlasName}/all/${index}`,
    question: asked[chain.relations.at(-1)!].replace("{x}", askedAbout(chain)),
    answers: [chain.values.at(-1)!],
    hops: chain.relations.length,
    chain,
  }));
}

/** The thing asked about: named itself, or by the airport or the city that lies in it. */
function askedAbout({ start, relations }: Chain): string {
  const named = relations[0] === "city" ? `the airport ${start}` : start;
  const isCountry = relations.length === 1 || relations.at(-1) === "country";
  return isCountry ? named : `the country where ${named} lies`;
}

/**
 * `count` different questions of an atlas; the same arguments give the same ones.
 *
 * @throws {InputError} when the atlas has fewer questions with some number of hops than are asked for.
 *
 * @example
 * ```ts
 * import { buildAtlas, sampleQuestions } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * const atlas = buildAtlas({ seed: 3 });
 * const questions = sampleQuestions(atlas, 20, 1, { split: "train" });
 * assertEquals(new Set(questions.map(({ id }) => id)).size, 20);
 * assertEquals(questions, sampleQuestions(atlas, 20, 1, { split: "train" }));
 * ```
 */
export function sampleQuestions(
  atlas: Atlas,
  count: number,
  seed: number,
  options: SampleOptions = {},
): AtlasQuestion[] {
  const { split = "train", hopShares = [0.15, 0.4, 0.45] } = options;
  const random = randomStream("questions", atlas.name, seed, split);
  const pools = hopShares.map((_, i) =>
    shuffled(atlas.questions.filter(({ hops }) => hops === i + 1), random)
  );
  const sizes = pools.map((pool) => pool.length);
  return Array.from({ length: count }, () => {
    let hop = 0;
    for (let u = random(); hop < hopShares.length - 1 && u >= hopShares[hop]!; hop++) u -= hopShares[hop]!;
    const question = pools[hop]!.pop();
    if (question === undefined) {
      throw new InputError(
        `Cannot draw ${count} questions from atlas ${atlas.name}: it has ${sizes[hop]} of ${
          hop + 1
        } hops; ask for fewer or build a bigger world`,
      );
    }
    const index = question.id.slice(question.id.lastIndexOf("/") + 1);
    return { ...question, id: `atlas-${atlas.name}/${split}/${index}` };
  });
}
