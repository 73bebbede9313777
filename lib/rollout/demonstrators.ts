/**
 * Demonstrations for the warm start, written by personas over the scripted policies, so that what the policy learns first
 * is how to act and not how to act well: most demonstrations are clumsy, few ask for two facts at once.
 *
 * Some demonstrations carry the privileged block (a hint) and then act efficiently, so that a small policy learns to read
 * the block that OFSD's teacher (arXiv 2605.22511) is shown; half of those open with clumsy turns that carry no loss, so
 * that it learns to recover off its own path.
 *
 * @module
 */
import { pick, randomStream } from "../base/random.ts";
import type { Document, Retriever } from "../search/retriever.ts";
import type { Atlas } from "../world/atlas.ts";
import type { AtlasQuestion } from "../world/atlas_questions.ts";
import type { Question } from "../world/question.ts";
import { factsIn } from "../world/sentences.ts";
import { formatDocuments, observationText } from "./environment.ts";
import { type HintMode, hintText } from "./hint.ts";
import {
  ChainReader,
  scriptedSearches,
  type ScriptedTurn,
  scriptedTurns,
  searchOne,
} from "./scripted_policies.ts";

/** A piece of a demonstration. Only `model` text carries loss; `noise` is a turn that the model is not to learn. */
export interface Segment {
  text: string;
  role: "model" | "noise" | "environment";
}

/** One demonstration: what follows the prompt, with the privileged block between them where there is one. */
export interface Demonstration {
  question: Question;
  segments: Segment[];
  /** `<hint>…</hint>`, tags included. */
  hint?: string;
}

/** What rehearsals are made of. */
export interface RehearsalOptions {
  world: Atlas;
  retriever: Retriever;
  /** How many. */
  count: number;
  seed: number | string;
  /** Documents a search returns. */
  topK: number;
}

/** What demonstrations are made of. */
export interface DemonstrationOptions extends RehearsalOptions {
  /** Share of demonstrations with a privileged block. */
  hintedShare: number;
  /** What the environment says to a turn without an action. */
  notice: string;
}

/** Shares of the personas among demonstrations without a block. */
const careful = 0.25;
const quick = 0.01;

/** How often a quick persona's answer is wrong. */
const quickWrong = 0.6;

/** What a clumsy persona does in a turn; else it searches for the next fact. */
const clumsy = { invalid: 0.06, guess: 0.08, vagueQuery: 0.72, wrongAnswer: 0.75 };

/** How often a search finds nothing at first, and is tried again: an agent that hears nothing must not answer. */
const silent = 0.08;

const hopShares = [0.15, 0.4, 0.45];
const hintModes: readonly HintMode[] = ["full", "no-answer", "queries"];

/**
 * Demonstrations over an atlas, `hintedShare` of them with a privileged block.
 *
 * @example
 * ```ts
 * import { buildAtlas, createBm25, demonstrations } from "@search-e1/kit";
 * import { assert, assertEquals } from "@std/assert";
 *
 * const world = buildAtlas({ seed: 1 });
 * const retriever = createBm25({ documents: world.documents });
 * const options = { world, retriever, count: 10, hintedShare: 0.4, seed: 0, topK: 1, notice: "\nTry again.\n" };
 * const made = await demonstrations(options);
 * assertEquals(made.length, 10);
 * assert(made.every(({ segments }) => segments.at(-1)!.text.endsWith("</answer>")));
 * ```
 */
export async function demonstrations(options: DemonstrationOptions): Promise<Demonstration[]> {
  const { world, retriever, count, hintedShare, seed, topK, notice } = options;
  const drawQuestion = questionsOf(world);
  const made: Demonstration[] = [];
  for (let i = 0; i < count; i++) {
    const random = randomStream(seed, "demonstration", world.name, i);
    const question = drawQuestion(random);
    const desk = { retriever, topK, random, world };
    if (random() < hintedShare) {
      made.push(await hinted(question, desk, notice, random() < 0.5 ? 1 + Math.floor(random() * 2) : 0));
    } else {
      const turns = await personaTurns(question, desk);
      made.push({
        question,
        segments: withSilence(turns, random).flatMap((turn) => segmentsOf(turn, "model", notice)),
      });
    }
  }
  return made;
}

/**
 * Demonstrations with a privileged block and without a false step, which keep the teacher able to read the block.
 *
 * @example
 * ```ts
 * import { buildAtlas, createBm25, rehearsals } from "@search-e1/kit";
 * import { assert } from "@std/assert";
 *
 * const world = buildAtlas({ seed: 1 });
 * const retriever = createBm25({ documents: world.documents });
 * const made = await rehearsals({ world, retriever, count: 3, seed: 0, topK: 1 });
 * assert(made.every(({ hint }) => hint!.startsWith("<hint>")));
 * ```
 */
export async function rehearsals(options: RehearsalOptions): Promise<Demonstration[]> {
  const { world, retriever, count, seed, topK } = options;
  const drawQuestion = questionsOf(world);
  const made: Demonstration[] = [];
  for (let i = 0; i < count; i++) {
    const random = randomStream(seed, "rehearsal", world.name, i);
    made.push(await hinted(drawQuestion(random), { retriever, topK, random, world }, "", 0));
  }
  return made;
}

/** What a persona works with. */
interface Desk {
  world: Atlas;
  retriever: Retriever;
  topK: number;
  random: () => number;
}

/** Share of the blocks that show the naive policy's way: after GRPO many siblings are like that. */
const naiveShown = 0.5;

/** A block that shows a way to the answer, up to `noisyTurns` clumsy turns without loss, then the efficient policy's way. */
async function hinted(
  question: AtlasQuestion,
  desk: Desk,
  notice: string,
  noisyTurns: number,
): Promise<Demonstration> {
  const way = await scriptedTurns("efficient", question, desk.retriever, desk.topK);
  const room = scriptedSearches - (way.length - 1);
  const noise: ScriptedTurn[] = [];
  while (noise.length < Math.min(noisyTurns, room)) noise.push(await noisyTurn(question, desk));
  const shown = desk.random() < naiveShown
    ? await scriptedTurns("naive", question, desk.retriever, desk.topK)
    : way;
  const hint = hintText(
    shown.map(({ kind, content, documents }) => ({
      kind: kind === "answer" ? kind : "search",
      content,
      informationText: formatDocuments(documents),
    })),
    pick(hintModes, desk.random),
  );
  const segments = [
    ...noise.flatMap((turn) => segmentsOf(turn, "noise", notice)),
    ...(notice === "" ? way : withSilence(way, desk.random, noise.length)).flatMap((turn) =>
      segmentsOf(turn, "model", notice)
    ),
  ];
  return { question, segments, hint };
}

/** A turn that leads nowhere in particular: an incomplete action, a vague query, or a query for another thing. */
async function noisyTurn(question: AtlasQuestion, desk: Desk): Promise<ScriptedTurn> {
  const { random } = desk;
  const { start, relations } = question.chain;
  if (random() < 0.15) return { kind: "invalid", content: start, documents: [] };
  const query = random() < 0.6
    ? start
    : `${pick(desk.world.facts, random).subject} ${pick(relations, random)}`;
  return await searchTurn(query, desk);
}

async function personaTurns(question: AtlasQuestion, desk: Desk): Promise<ScriptedTurn[]> {
  const persona = desk.random();
  if (persona < careful) return await scriptedTurns("naive", question, desk.retriever, desk.topK);
  if (persona < careful + quick) return await quickTurns(question, desk);
  return await clumsyTurns(question, desk);
}

/** The efficient way, with an answer that is mostly wrong. */
async function quickTurns(question: AtlasQuestion, desk: Desk): Promise<ScriptedTurn[]> {
  const turns = await scriptedTurns("efficient", question, desk.retriever, desk.topK);
  return desk.random() < quickWrong ? [...turns.slice(0, -1), wrongAnswer(question, turns, desk)] : turns;
}

/** Vague queries, incomplete actions, guesses, and answers that do not follow from what was read. */
async function clumsyTurns(question: AtlasQuestion, desk: Desk): Promise<ScriptedTurn[]> {
  const { random } = desk;
  const reader = new ChainReader(question);
  const turns: ScriptedTurn[] = [];
  while (reader.open.length > 0 && turns.length < scriptedSearches) {
    const choice = random();
    if (choice < clumsy.invalid) {
      turns.push({ kind: "invalid", content: `${reader.current} ${reader.open[0]}`, documents: [] });
      continue;
    }
    if (choice < clumsy.invalid + clumsy.guess) break;
    const vague = choice < clumsy.invalid + clumsy.guess + clumsy.vagueQuery;
    const turn = await searchTurn(vague ? reader.current : `${reader.current} ${reader.open[0]}`, desk);
    turns.push(turn);
    reader.read(turn.documents);
  }
  const right = reader.open.length === 0 && random() >= clumsy.wrongAnswer;
  const answer = right
    ? { kind: "answer" as const, content: reader.current, documents: [] }
    : wrongAnswer(question, turns, desk);
  return [...turns, answer];
}

/** The same turns with some searches that find nothing put before the one that does, as far as the budget goes. */
function withSilence(turns: readonly ScriptedTurn[], random: () => number, spent = 0): ScriptedTurn[] {
  let room = scriptedSearches - spent - (turns.length - 1);
  return turns.flatMap((turn) => {
    const heard: ScriptedTurn[] = [turn];
    for (let chance = silent; turn.kind === "search" && room > 0 && random() < chance; chance = 0.5, room--) {
      heard.unshift({ ...turn, documents: [] });
    }
    return heard;
  });
}

/** An answer that is not the gold one: something read on the way, or any object of the relation asked for. */
function wrongAnswer(question: AtlasQuestion, turns: readonly ScriptedTurn[], desk: Desk): ScriptedTurn {
  const { world, random } = desk;
  const asked = question.chain.relations.at(-1)!;
  const read = turns.flatMap(({ documents }) => documents.flatMap(factsIn)).map(({ object }) => object);
  const ofKind = world.facts.filter(({ relation }) => relation === asked).map(({ object }) => object);
  const wrong = (random() < 0.5 ? read : ofKind).filter((object) => !question.answers.includes(object));
  const content = pick(wrong.length > 0 ? wrong : [question.chain.start], random);
  return { kind: "answer", content, documents: [] };
}

async function searchTurn(query: string, desk: Desk): Promise<ScriptedTurn> {
  return { kind: "search", content: query, documents: await searchOne(desk.retriever, query, desk.topK) };
}

/** A turn as text. An incomplete action closes a tag that it never opened, which ends the turn without an action. */
function segmentsOf(
  turn: { kind: ScriptedTurn["kind"]; content: string; documents: Document[] },
  role: "model" | "noise",
  notice: string,
): Segment[] {
  const { kind, content, documents } = turn;
  if (kind === "answer") return [{ text: `<answer>${content}</answer>`, role }];
  if (kind === "invalid") {
    return [{ text: `${content}</search>`, role }, { text: notice, role: "environment" }];
  }
  return [{ text: `<search>${content}</search>`, role }, {
    text: observationText(documents),
    role: "environment",
  }];
}

/** Draws questions of an atlas, of each number of hops as many as its share. */
function questionsOf({ questions }: Atlas): (random: () => number) => AtlasQuestion {
  const byHops = Map.groupBy(questions, ({ hops }) => hops);
  return (random) => {
    const u = random();
    const hops = u < hopShares[0]! ? 1 : u < hopShares[0]! + hopShares[1]! ? 2 : 3;
    return pick(byHops.get(hops) ?? [], random);
  };
}
