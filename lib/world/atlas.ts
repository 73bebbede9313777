/**
 * The Atlas: a closed world of short documents over real names, and the questions that they answer. The *real* atlas
 * says what is true; an *alternate* atlas has the same names and sentences, the objects of every relation permuted by its
 * seed, so that nothing learned in one atlas can be recalled in another.
 *
 *     airport → city → country → capital | currency | language | continent
 *
 * @module
 */
import { randomStream, shuffled } from "../base/random.ts";
import type { Document } from "../search/retriever.ts";
import { allQuestions, type AtlasQuestion } from "./atlas_questions.ts";
import { type WorldSizes, type WorldTables, worldTables } from "./facts.ts";
import {
  type Aside,
  asideSentence,
  documentContents,
  type Fact,
  oneFactSentence,
  type Relation,
  roughCount,
  twoFactSentence,
} from "./sentences.ts";

/** Which atlas, and how big. */
export interface AtlasOptions extends Partial<WorldSizes> {
  /** `real`, or the number of an alternate atlas. */
  seed: number | "real";
  /** Share of the sentences of two facts that exist; where one is missing, a short query fails. */
  twoFactPresence?: number;
}

/** A world: what is so, the documents that say it, and every question that it answers. */
export interface Atlas {
  /** `real` or `alternate-<seed>`. */
  name: string;
  facts: Fact[];
  documents: Document[];
  /** All questions, in a fixed order; `sampleQuestions` draws from them. */
  questions: AtlasQuestion[];
}

interface AsideFact {
  subject: string;
  aside: Aside;
  object: string;
}

/**
 * Builds an atlas; the same options give the same atlas.
 *
 * @throws {InputError} when the packages do not hold a world of that size.
 *
 * @example
 * ```ts
 * import { buildAtlas } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * const real = buildAtlas({ seed: "real" });
 * const fact = real.facts.find(({ subject, relation }) => subject === "Osaka" && relation === "country");
 * assertEquals(fact?.object, "Japan");
 * ```
 */
export function buildAtlas(options: AtlasOptions): Atlas {
  const { seed, countries = 64, cities = 120, airports = 120, twoFactPresence = 0.85 } = options;
  const tables = worldTables({ countries, cities, airports });
  const name = seed === "real" ? "real" : `alternate-${seed}`;
  const facts = seed === "real"
    ? realFacts(tables)
    : permuted(realFacts(tables), ({ relation }) => relation, seed);
  const asides = seed === "real"
    ? realAsides(tables)
    : permuted(realAsides(tables), ({ aside }) => aside, seed);

  const contents = [
    ...facts.map((fact) => documentContents(fact.subject, oneFactSentence(fact))),
    ...twoFactContents(facts, twoFactPresence, randomStream("atlas", seed, "two-fact documents")),
    ...asides.map(({ subject, aside, object }) =>
      documentContents(subject, asideSentence(aside, subject, object))
    ),
  ];
  const documents = shuffled(contents, randomStream("atlas", seed, "document order"))
    .map((text, i) => ({ id: `${name}/${i}`, contents: text }));
  return { name, facts, documents, questions: allQuestions(name, facts) };
}

function realFacts({ countries, cities, airports }: WorldTables): Fact[] {
  const facts: Fact[] = [];
  const add = (subject: string, relation: Relation, object: string | undefined) => {
    if (object !== undefined) facts.push({ subject, relation, object });
  };
  for (const { code, city } of airports) add(code, "city", city);
  for (const { name, country } of cities) add(name, "country", country);
  for (const country of countries) {
    add(country.name, "capital", country.capital);
    add(country.name, "currency", country.currency);
    add(country.name, "language", country.language);
    add(country.name, "continent", country.continent);
  }
  return facts;
}

function realAsides({ countries, cities, airports }: WorldTables): AsideFact[] {
  const asides: AsideFact[] = [];
  const add = (subject: string, aside: Aside, object: string | undefined) => {
    if (object !== undefined) asides.push({ subject, aside, object });
  };
  for (const { code, altitude } of airports) {
    add(code, "altitude", altitude > 0 ? roughCount(altitude) : undefined);
  }
  for (const { name, population, near } of cities) {
    add(name, "inhabitants", roughCount(population));
    add(name, "near", near);
  }
  for (const { name, population, dish, diallingCode } of countries) {
    add(name, "people", population === undefined ? undefined : roughCount(population));
    add(name, "dish", dish);
    add(name, "diallingCode", diallingCode);
  }
  return asides;
}

/** The objects of each group dealt anew among its subjects; nothing becomes an object of itself. */
function permuted<F extends { subject: string; object: string }>(
  facts: readonly F[],
  groupOf: (fact: F) => string,
  seed: number,
): F[] {
  const objects = new Map<string, string[]>();
  for (const [group, members] of Map.groupBy(facts, groupOf)) {
    const random = randomStream("atlas", seed, group);
    const dealt = shuffled(members.map(({ object }) => object), random);
    for (let i = 0; i < members.length; i++) {
      const own = members[i]!.subject;
      while (dealt[i] === own) {
        const j = Math.floor(random() * members.length);
        if (dealt[j] !== own && members[j]!.subject !== own) [dealt[i], dealt[j]] = [dealt[j]!, own];
      }
    }
    objects.set(group, dealt.reverse());
  }
  return facts.map((fact) => ({ ...fact, object: objects.get(groupOf(fact))!.pop()! }));
}

/**
 * The sentences of two facts, each present with probability `presence`. None names a thing twice: "Cairo lies in Egypt,
 * where the capital is Cairo" would win every search for Cairo.
 */
function twoFactContents(facts: readonly Fact[], presence: number, random: () => number): string[] {
  const bySubject = Map.groupBy(facts, ({ subject }) => subject);
  const contents: string[] = [];
  for (const first of facts) {
    if (first.relation !== "city" && first.relation !== "country") continue;
    for (const second of bySubject.get(first.object) ?? []) {
      const sentence = twoFactSentence(first, second);
      const present = random() < presence;
      if (sentence === undefined || second.object === first.subject || !present) continue;
      contents.push(documentContents(first.subject, sentence));
    }
  }
  return contents;
}
