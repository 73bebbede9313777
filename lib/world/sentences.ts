/**
 * How the atlas says things: one English sentence a document, written from facts and read back into facts. Writing and
 * reading share one table of sentences, so that the scripted policies know only what they have read.
 *
 * @module
 */
import { type Document, titleAndText } from "../search/retriever.ts";

/** What a fact is about; it is also the word that a query asks for it with. */
export type Relation = "city" | "country" | "capital" | "currency" | "language" | "continent";

/** `relation` of `subject` is `object`: the capital of Japan is Tokyo. */
export interface Fact {
  subject: string;
  relation: Relation;
  object: string;
}

/** Facts that no question asks for; they stand in the way of a vague query. */
export type Aside = "inhabitants" | "altitude" | "near" | "dish" | "people" | "diallingCode";

/** s is the subject, o the object, m what lies between them in a sentence of two facts. */
const oneFact: Record<Relation, string> = {
  city: "{s} is the airport of the city {o}.",
  country: "{s} lies in the country {o}.",
  capital: "The capital of {s} is {o}.",
  currency: "The currency of {s} is the {o}.",
  language: "The language of {s} is {o}.",
  continent: "The continent of {s} is {o}.",
};

const twoFacts: Record<Exclude<Relation, "city">, string> = {
  country: "{s} serves {m}, which lies in the country {o}.",
  capital: "{s} lies in {m}, where the capital is {o}.",
  currency: "{s} lies in {m}, where the currency is the {o}.",
  language: "{s} lies in {m}, where the language is {o}.",
  continent: "{s} lies in {m}, on the continent {o}.",
};

const asides: Record<Aside, string> = {
  inhabitants: "About {o} people live in {s}.",
  altitude: "{s} lies about {o} feet above the level of the sea.",
  near: "{s} is near {o}.",
  dish: "A well-known dish of {s} is {o}.",
  people: "{s} has about {o} people.",
  diallingCode: "The dialling code of {s} is {o}.",
};

/** A sentence of one fact. */
export function oneFactSentence({ subject, relation, object }: Fact): string {
  return filled(oneFact[relation], { s: subject, o: object });
}

/** A sentence of two facts, the second about the object of the first; undefined where there is no such sentence. */
export function twoFactSentence(first: Fact, second: Fact): string | undefined {
  if (second.relation === "city") return undefined;
  return filled(twoFacts[second.relation], { s: first.subject, m: first.object, o: second.object });
}

/** A sentence beside the point. */
export function asideSentence(aside: Aside, subject: string, object: string): string {
  return filled(asides[aside], { s: subject, o: object });
}

/** The title line and the sentence, as Search-R1 stores a document. */
export function documentContents(title: string, sentence: string): string {
  return `"${title}"\n${sentence}`;
}

/**
 * The facts that a document of the atlas tells; none for a document beside the point.
 *
 * @example
 * ```ts
 * import { factsIn } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * const document = { id: "0", contents: '"Osaka"\nOsaka lies in Japan, where the capital is Tokyo.' };
 * assertEquals(factsIn(document), [
 *   { subject: "Osaka", relation: "country", object: "Japan" },
 *   { subject: "Japan", relation: "capital", object: "Tokyo" },
 * ]);
 * ```
 */
export function factsIn(document: Document): Fact[] {
  const { text } = titleAndText(document);
  for (const [relation, pattern] of oneFactPatterns) {
    const names = pattern.exec(text)?.groups;
    if (names) return [{ subject: names["s"]!, relation, object: names["o"]! }];
  }
  for (const [relation, pattern] of twoFactPatterns) {
    const names = pattern.exec(text)?.groups;
    if (!names) continue;
    const bridge: Relation = relation === "country" ? "city" : "country";
    return [
      { subject: names["s"]!, relation: bridge, object: names["m"]! },
      { subject: names["m"]!, relation, object: names["o"]! },
    ];
  }
  return [];
}

/** A count as people say it: one leading digit, then hundred, thousand, million or billion. */
export function roughCount(count: number): string {
  const size = 10 ** Math.floor(Math.log10(count));
  const rounded = Math.round(count / size) * size;
  if (rounded >= 1e9) return `${rounded / 1e9} billion`;
  if (rounded >= 1e6) return `${rounded / 1e6} million`;
  if (rounded >= 1e3) return `${rounded / 1e3} thousand`;
  return `${rounded}`;
}

function filled(template: string, names: Record<string, string>): string {
  return template.replace(/\{(\w)\}/g, (_, slot: string) => names[slot]!);
}

/** A name is a run without a plain space: two words of one name are joined by a no-break space. */
function patterns<R extends string>(table: Record<R, string>): [R, RegExp][] {
  return Object.entries<string>(table).map(([relation, template]) => [
    relation as R,
    new RegExp(`^${template.replace(/\./g, "\\.").replace(/\{(\w)\}/g, "(?<$1>[^ ,.]+)")}$`, "u"),
  ]);
}

const oneFactPatterns = patterns(oneFact);
const twoFactPatterns = patterns(twoFacts);
