/** What a run learns from and is measured on, made from its config: question sets, search tools, demonstrations. @module */
import { InputError } from "../base/input_error.ts";
import type { Evaluation } from "../eval/evaluation.ts";
import type { Sequence } from "../learn/batch.ts";
import type { Tokenizer } from "../model/policy.ts";
import { promptTokens } from "../rollout/prompt.ts";
import { readDemonstrations } from "../rollout/demonstration_files.ts";
import { type Demonstration, demonstrations, rehearsals } from "../rollout/demonstrators.ts";
import { type ScriptedPolicy, scriptedRollout } from "../rollout/scripted_policies.ts";
import { createBm25 } from "../search/bm25.ts";
import { readCorpus } from "../search/corpus.ts";
import { createHttpRetriever } from "../search/http_retriever.ts";
import type { Document, Retriever } from "../search/retriever.ts";
import { type Atlas, buildAtlas } from "../world/atlas.ts";
import { type AtlasQuestion, sampleQuestions } from "../world/atlas_questions.ts";
import { readQuestions } from "../world/question_files.ts";
import { type QuestionSet, type Task, tasksOf } from "../world/question_set.ts";
import { atlasTexts } from "../world/world_tokenizer.ts";
import type { Config } from "./config.ts";
import { agentOptions } from "./run.ts";

/** The data of a run. */
export interface RunData {
  /** Training questions of GRPO and OFSD. */
  train: Task[];
  /** Chooses the best checkpoint and rolls OFSD back; nothing else does. */
  validation: QuestionSet;
  /** Reported once a stage; choose nothing. */
  heldout: QuestionSet[];
  /** Every text that the policy may meet, for a tokenizer of whole words. */
  texts: () => string[];
  /** SFT's sequences for one phase, named by `key`. */
  demonstrations: (tokenizer: Tokenizer, key: string, hintedShare: number) => Promise<Sequence[]>;
  /** Error-free demonstrations with a privileged block, which GRPO rehearses. */
  rehearsals: (tokenizer: Tokenizer, key: string) => Promise<Sequence[]>;
  /** What the scripted policies reach on the held-out sets. */
  bounds: () => Promise<Evaluation["bounds"]>;
}

/**
 * Loads or builds what the config names: questions with their search tools, and demonstrations.
 *
 * @throws {InputError} for a file that is missing or malformed.
 *
 * @example
 * ```ts
 * import { openRunData, parseConfig } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * const world = "world = { countries = 12, cities = 16, airports = 16, hop_shares = [1, 0, 0] }";
 * const data = await openRunData(parseConfig(`${world}\nevaluate = { n = 5, validation_n = 5 }`, "example"));
 * assertEquals(data.heldout.map(({ name, questions }) => [name, questions.length]), [["alternate", 5], ["real", 5]]);
 * ```
 */
export function openRunData(config: Config): Promise<RunData> {
  return config.world.kind === "atlas" ? Promise.resolve(atlasData(config)) : filesData(config);
}

/** Number of the alternate atlas that every run is measured on; training atlases have numbers below it. */
const heldoutAtlas = 1_000_000;
/** Share of a training atlas's questions that is taken: few enough to have any mix of hops. */
const trainShare = 0.3;

function atlasData(config: Config): RunData {
  const { world, seed, evaluate, sft } = config;
  const { countries, cities, airports } = world;
  const atlas = (number: number | "real", twoFactPresence = world.two_fact_presence) =>
    buildAtlas({ seed: number, countries, cities, airports, twoFactPresence });
  const training = (purpose: number, i: number, presence?: number) =>
    atlas((seed * 1000 + purpose * 300 + i) % heldoutAtlas, presence);
  const open = (atlas: Atlas) => ({ atlas, retriever: retrieverOf(config, atlas.documents) });
  const sample = ({ atlas, retriever }: ReturnType<typeof open>, name: string, count: number) => ({
    name,
    retriever,
    questions: sampleQuestions(atlas, count, seed, { split: name, hopShares: world.hop_shares }),
  });

  const sftWorlds = Array.from(
    { length: world.sft_worlds },
    (_, i) => open(training(0, i, world.sft_two_fact_presence)),
  );
  const rlWorlds = Array.from({ length: world.rl_worlds }, (_, i) => open(training(1, i)));
  const heldout = [
    sample(open(atlas(heldoutAtlas)), "alternate", evaluate.n),
    sample(open(atlas("real")), "real", evaluate.n),
  ];
  const topK = config.agent.documents;
  const fromWorlds = async (
    tokenizer: Tokenizer,
    worlds: typeof sftWorlds,
    make: (world: (typeof sftWorlds)[number], i: number) => Promise<Demonstration[]>,
  ) =>
    (await Promise.all(worlds.map(make))).flat()
      .map((demonstration) => demonstrationSequence(demonstration, tokenizer, config));

  return {
    train: rlWorlds.flatMap((world) =>
      tasksOf(sample(world, "train", Math.floor(trainShare * world.atlas.questions.length)))
    ),
    validation: sample(open(training(2, 0)), "validation", evaluate.validation_n),
    heldout,
    texts: () =>
      [...sftWorlds, ...rlWorlds].map(({ atlas }) => atlas).concat(atlas("real")).flatMap(atlasTexts),
    demonstrations: (tokenizer, key, hintedShare) =>
      fromWorlds(tokenizer, sftWorlds, ({ atlas, retriever }) =>
        demonstrations({
          world: atlas,
          retriever,
          count: Math.ceil(sft.demonstrations / sftWorlds.length),
          hintedShare,
          seed: `${seed}/${key}`,
          topK,
          notice: config.agent.notice,
        })),
    rehearsals: (tokenizer, key) =>
      fromWorlds(
        tokenizer,
        rlWorlds,
        ({ atlas, retriever }) =>
          rehearsals({ world: atlas, retriever, count: 100, seed: `${seed}/${key}`, topK }),
      ),
    bounds: async () => {
      const bounds: Evaluation["bounds"] = {};
      for (const set of heldout) {
        bounds[set.name] = {
          naive: await bound("naive", set, topK),
          efficient: await bound("efficient", set, topK),
        };
      }
      return bounds;
    },
  };
}

async function bound(
  policy: ScriptedPolicy,
  { questions, retriever }: { questions: AtlasQuestion[]; retriever: Retriever },
  topK: number,
): Promise<{ em: number; searches: number }> {
  let right = 0;
  let searches = 0;
  for (const question of questions) {
    const result = await scriptedRollout(policy, question, retriever, topK);
    right += Number(question.answers.includes(result.answer));
    searches += result.searches;
  }
  return { em: right / questions.length, searches: searches / questions.length };
}

async function filesData(config: Config): Promise<RunData> {
  const { world, evaluate } = config;
  const corpus = world.corpus === "" ? [] : await readCorpus(world.corpus);
  const retriever = retrieverOf(config, corpus);
  const load = async (name: string, path: string, most: number) => ({
    name,
    retriever,
    questions: (await readQuestions(path)).slice(0, most),
  });
  const train = await load("train", world.questions, Infinity);
  const validation = await load("validation", world.validation, evaluate.validation_n);
  const heldout: QuestionSet[] = [];
  for (const [name, path] of Object.entries(world.heldout)) heldout.push(await load(name, path, evaluate.n));
  const shown = world.demonstrations === "" ? [] : await readDemonstrations(world.demonstrations, {
    retriever,
    topK: config.agent.documents,
    notice: config.agent.notice,
  });
  const sequences = (tokenizer: Tokenizer, of: readonly Demonstration[]) =>
    Promise.resolve(of.map((demonstration) => demonstrationSequence(demonstration, tokenizer, config)));
  return {
    train: tasksOf(train),
    validation,
    heldout,
    texts: () => [
      ...corpus.map(({ contents }) => contents),
      ...[train, validation, ...heldout].flatMap(({ questions }) =>
        questions.flatMap(({ question, answers }) => [question, ...answers])
      ),
      ...shown.flatMap(({ segments }) => segments.map(({ text }) => text)),
    ],
    demonstrations: (tokenizer) => sequences(tokenizer, shown),
    rehearsals: (tokenizer) => sequences(tokenizer, shown),
    bounds: () => Promise.resolve({}),
  };
}

function retrieverOf({ retriever }: Config, documents: readonly Document[]): Retriever {
  if (retriever.kind === "http") {
    return createHttpRetriever({
      url: retriever.url,
      timeoutSeconds: retriever.timeout_seconds,
      retries: retriever.retries,
    });
  }
  return createBm25({ documents, k1: retriever.k1, b: retriever.b, titleWeight: retriever.title_weight });
}

/** A demonstration as the policy would have met it: prompt, privileged block, then turns, with loss on the model's own. */
export function demonstrationSequence(
  { question, hint, segments }: Demonstration,
  tokenizer: Tokenizer,
  config: Config,
): Sequence {
  const tokens = promptTokens(question, tokenizer, agentOptions(config));
  if (hint) tokens.push(...tokenizer.encode(hint));
  const mask = tokens.map(() => 0);
  for (const { text, role } of segments) {
    const ids = tokenizer.encode(text);
    tokens.push(...ids);
    mask.push(...ids.map(() => role === "model" ? 1 : 0));
  }
  if (!mask.includes(1)) {
    throw new InputError(
      `Cannot learn from the demonstration of "${question.id}": the model writes nothing in it`,
    );
  }
  return { tokens, mask };
}
