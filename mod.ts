/**
 * The Search-E1 kit: train a search agent by rounds of GRPO (arXiv 2402.03300) and offline self-distillation (Search-E1,
 * arXiv 2605.22511).
 *
 * Data has one direction: question → roll-out → reward → trainer → checkpoint → report, and the exports below stand in
 * that order. {@linkcode runSearchE1} goes all of the way by a config; the tour goes one step of it by hand.
 *
 * Letters in names of tensors: B batch rows, T tokens of a row, M model tokens of a row, V vocabulary, D model width,
 * H heads, G members of a group, N any number of rows.
 *
 * @example A GRPO step on a policy that knows nothing yet
 * ```ts
 * import {
 *   atlasTexts, batchTensors, buildAtlas, buildWordTokenizer, createBm25, exactMatchReward, groupAdvantages, grpoLoss,
 *   grpoLossPresets, initWeights, loadTokenizer, type Loss, modelLogits, openEngine, packBatch, packPerToken,
 *   randomStream, rewardTrajectories, rollout, sampleQuestions, scriptedRollout, tokenLogprobs, Trainer,
 * } from "@search-e1/kit";
 * import { assert, assertEquals } from "@std/assert";
 * import * as tf from "@tensorflow/tfjs";
 *
 * const engine = await openEngine({ engine: "cpu" });
 *
 * // A world: documents, a search tool, and questions. A scripted policy needs one search a fact.
 * const atlas = buildAtlas({ seed: 1, countries: 12, cities: 16, airports: 16 });
 * const retriever = createBm25({ documents: atlas.documents });
 * const questions = sampleQuestions(atlas, 2, 1, { hopShares: [0, 1, 0] });
 * const bound = await scriptedRollout("naive", questions[0]!, retriever, 1);
 * assertEquals(bound, { answer: questions[0]!.answers[0]!, searches: 2 });
 *
 * // A policy: a tokenizer of the world's words, a decoder of a few thousand weights.
 * const tokenizer = loadTokenizer(buildWordTokenizer(atlasTexts(atlas)));
 * const config = {
 *   model_type: "qwen2", vocab_size: tokenizer.vocabSize, hidden_size: 16, intermediate_size: 32, num_hidden_layers: 1,
 *   num_attention_heads: 2, num_key_value_heads: 1, rope_theta: 10000, rms_norm_eps: 1e-6,
 *   tie_word_embeddings: true, max_position_embeddings: 128,
 * } as const;
 * const policy = { config, weights: initWeights(config, 1), tokenizer };
 *
 * // Roll-outs: a group of four for each question.
 * const agent = {
 *   maxTurns: 1, documents: 1, maxObservationTokens: 32, maxContextTokens: 128, maxNewTokens: 8,
 *   instruction: "{question}\n", notice: "\n", chatTemplate: false, useRowPrompts: false,
 * };
 * const requests = questions.flatMap((question) => [0, 1, 2, 3].map((member) => ({ question, retriever, member })));
 * const trajectories = await rollout(policy, requests, {
 *   agent,
 *   temperature: 1,
 *   random: ({ id }, member) => randomStream(1, "tour", id, member),
 * });
 *
 * // Rewards, one of them made up, and what they say within each group.
 * await rewardTrajectories(trajectories, requests.map(({ question }) => question), [
 *   { name: "exact_match", score: exactMatchReward, weight: 1 },
 *   { name: "variety", score: ({ tokens }) => new Set(tokens).size, weight: 0.01 },
 * ]);
 * const { advantages } = groupAdvantages(trajectories, { scaleRewards: "group", epsilon: 1e-6 });
 * assertEquals(advantages.length, 8);
 *
 * // One optimiser step on the GRPO loss.
 * const loss: Loss = ({ weights, adapter }, inputs) => {
 *   const [tokens_BT, index_BM, targets_BM, mask_BM, oldLogp_BM] = inputs as tf.Tensor2D[];
 *   const logits_BMV = modelLogits(config, weights, adapter, { tokens_BT: tokens_BT!, index_BM: index_BM! });
 *   return grpoLoss({
 *     logp_BM: tokenLogprobs(logits_BMV, targets_BM!),
 *     oldLogp_BM: oldLogp_BM!,
 *     advantage_B: inputs[5] as tf.Tensor1D,
 *     mask_BM: mask_BM!,
 *   }, grpoLossPresets.trl);
 * };
 * const packed = packBatch(trajectories, { padTokenId: tokenizer.padTokenId });
 * const { tokens_BT, index_BM, targets_BM, mask_BM } = batchTensors(packed);
 * const old = packPerToken(packed, trajectories, trajectories.map(({ logprobs }) => logprobs));
 * const trainer = new Trainer(engine, policy, { weightDecay: 0, maxGradNorm: 1 });
 * await trainer.accumulate("grpo", loss, [
 *   tokens_BT, index_BM, targets_BM, mask_BM, tf.tensor2d(old, [packed.B, packed.M]), tf.tensor1d(advantages),
 * ]);
 * assert(await trainer.apply(1e-4) > 0); // the norm of the gradients
 *
 * trainer.dispose();
 * tf.dispose(policy.weights);
 * engine.close();
 * ```
 *
 * @module
 */

// base: errors for users, random streams, Python's white space.
export { InputError, nearestName } from "./lib/base/input_error.ts";
export { randomStream } from "./lib/base/random.ts";
export { splitWords, strip } from "./lib/base/white_space.ts";

// engine: what computes.
export { engineNames, openEngine } from "./lib/engine/open_engine.ts";
export { type EnsuredLibrary, ensureLibtensorflow } from "./lib/engine/install.ts";
export type {
  CompiledStep,
  CompileOptions,
  Engine,
  EngineName,
  OpenEngineOptions,
  Step,
} from "./lib/engine/open_engine.ts";
export { assertNoLeak } from "./lib/engine/leaks.ts";

// model: Qwen2 and Llama decoders, adapters, generation, Hugging Face's files.
export type { Adapter, ChatMessage, ModelConfig, Policy, Tokenizer, Weights } from "./lib/model/policy.ts";
export { hiddenStates, initWeights, linearNames, outputLogits, weightShapes } from "./lib/model/decoder.ts";
export { type ModelInputs, modelLogits, tokenEntropies, tokenLogprobs } from "./lib/model/scoring.ts";
export { initAdapter, loadAdapter, mergeAdapter, saveAdapter } from "./lib/model/adapter.ts";
export { generate, type Generated, type GenerateOptions } from "./lib/model/generate.ts";
export { PrefixCache } from "./lib/model/prefix_cache.ts";
export { sampleToken, type SamplingOptions } from "./lib/model/sampling.ts";
export { loadTokenizer } from "./lib/model/tokenizer.ts";
export { readSafetensors, writeSafetensors } from "./lib/model/safetensors.ts";
export type { HostTensor, SafetensorsFile } from "./lib/model/safetensors.ts";
export { loadPolicy, savePolicy } from "./lib/model/hf_folder.ts";

// search: corpora and retrievers.
export { type Document, type Hit, type Retriever, titleAndText } from "./lib/search/retriever.ts";
export { readCorpus } from "./lib/search/corpus.ts";
export { type Bm25Options, createBm25 } from "./lib/search/bm25.ts";
export { createHttpRetriever, type HttpRetrieverOptions } from "./lib/search/http_retriever.ts";
export {
  type RetrievalServer,
  type RetrievalServerOptions,
  serveRetriever,
} from "./lib/search/retrieval_server.ts";

// world: questions with gold answers, and how answers are judged.
export type { Question } from "./lib/world/question.ts";
export { type QuestionSet, type Task, tasksOf } from "./lib/world/question_set.ts";
export { readQuestions } from "./lib/world/question_files.ts";
export {
  exactMatch,
  extractAnswer,
  f1,
  normalizeAnswer,
  substringExactMatch,
} from "./lib/world/answer_metrics.ts";
export { worldTables } from "./lib/world/facts.ts";
export type { AirportFacts, CityFacts, CountryFacts, WorldSizes, WorldTables } from "./lib/world/facts.ts";
export { type Fact, factsIn, type Relation } from "./lib/world/sentences.ts";
export { type Atlas, type AtlasOptions, buildAtlas } from "./lib/world/atlas.ts";
export { sampleQuestions } from "./lib/world/atlas_questions.ts";
export type { AtlasQuestion, Chain, SampleOptions } from "./lib/world/atlas_questions.ts";
export { atlasTexts, buildWordTokenizer, type WordTokenizerOptions } from "./lib/world/world_tokenizer.ts";

// rollout: the agent's turns, by a policy, by rule, and as demonstrations.
export {
  modelTokenCount,
  searchCount,
  type StopReason,
  type Trajectory,
  type Turn,
} from "./lib/rollout/trajectory.ts";
export { formatDocuments, observationText, parseAction, stopStrings } from "./lib/rollout/environment.ts";
export type { Action, AgentOptions } from "./lib/rollout/environment.ts";
export { promptTokens } from "./lib/rollout/prompt.ts";
export { rollout, type RolloutOptions, type RolloutRequest } from "./lib/rollout/rollout.ts";
export { scriptedRollout, scriptedTurns } from "./lib/rollout/scripted_policies.ts";
export type { ScriptedPolicy, ScriptedResult, ScriptedTurn } from "./lib/rollout/scripted_policies.ts";
export { type HintMode, hintText, type HintTurn } from "./lib/rollout/hint.ts";
export { demonstrations, rehearsals } from "./lib/rollout/demonstrators.ts";
export type {
  Demonstration,
  DemonstrationOptions,
  RehearsalOptions,
  Segment,
} from "./lib/rollout/demonstrators.ts";
export { type DemonstrationFileOptions, readDemonstrations } from "./lib/rollout/demonstration_files.ts";

// learn: rewards, advantages, losses, and the trainer that sums them.
export {
  exactMatchReward,
  f1Reward,
  isWellFormed,
  rewardTrajectories,
  searchR1FormatReward,
  searchR1Score,
  substringReward,
} from "./lib/learn/reward.ts";
export type { FormatScores, Reward, WeightedReward } from "./lib/learn/reward.ts";
export { groupAdvantages, mean, standardDeviation } from "./lib/learn/advantage.ts";
export type { AdvantageOptions, GroupAdvantages } from "./lib/learn/advantage.ts";
export { chooseSiblings, returnOf } from "./lib/learn/siblings.ts";
export type { SiblingChoice, SiblingOptions, SiblingPair } from "./lib/learn/siblings.ts";
export {
  privilegedBlock,
  type PrivilegedPair,
  privilegedPair,
  queryMask,
  shownSiblings,
} from "./lib/learn/privileged_context.ts";
export { batchTensors, mayLieEndToEnd, packBatch, packPerToken } from "./lib/learn/batch.ts";
export type { BatchTensors, PackedBatch, PackOptions, Sequence } from "./lib/learn/batch.ts";
export { sftLoss } from "./lib/learn/sft.ts";
export { type GrpoInputs, grpoLoss, grpoLossPresets, type GrpoOptions } from "./lib/learn/grpo.ts";
export { hostWeights, ofsdLoss, teacherTargets, tokenWeights } from "./lib/learn/ofsd.ts";
export type { OfsdInputs, OfsdOptions, TeacherTargets } from "./lib/learn/ofsd.ts";
export { type Alternatives, type TokenDivergence, tokenDivergence } from "./lib/learn/token_divergence.ts";
export { adamwStep, globalNorm } from "./lib/learn/adamw.ts";
export type { AdamwOptions, AdamwResult, AdamwScalars } from "./lib/learn/adamw.ts";
export { learningRate, type ScheduleOptions } from "./lib/learn/schedule.ts";
export { Scorer } from "./lib/learn/scorer.ts";
export { type Loss, type OptimizerState, Trainer, type TrainerOptions } from "./lib/learn/trainer.ts";
export { createDetectors, type Detectors, groupIdCollisions } from "./lib/learn/detectors.ts";

// eval: what a policy can do.
export { evaluate, type EvaluateOptions, measure, type Measured } from "./lib/eval/evaluate.ts";
export { supported } from "./lib/eval/support.ts";
export type { Bound, Evaluation, EvaluationRow, TeacherRow } from "./lib/eval/evaluation.ts";

// run: the whole method by a config, and the folder it writes.
export {
  allowed,
  type Config,
  configToToml,
  jsonSchema,
  loadConfig,
  parseConfig,
  type SchemaNode,
} from "./lib/run/config.ts";
export { grpoSettings, ofsdSettings, stagesOf } from "./lib/run/stages.ts";
export type { GrpoSettings, OfsdSettings, Stage } from "./lib/run/stages.ts";
export { agentOptions } from "./lib/run/run.ts";
export { openRunData, type RunData } from "./lib/run/run_data.ts";
export { type RunOptions, type RunResult, runSearchE1 } from "./lib/run/search_e1.ts";
export { lockRunFolder, readEvaluation, runPaths, type RunState, runState } from "./lib/run/run_folder.ts";
export type { RecordedDivergence, RecordedTrajectory } from "./lib/run/run_folder.ts";
export { readRollouts, readTokenDivergences, stageCheckpoint } from "./lib/run/recorded.ts";
export {
  checkpointNames,
  latestCheckpoint,
  loadCheckpoint,
  policyFolder,
  saveCheckpoint,
} from "./lib/run/checkpoint.ts";
export type { Checkpoint, Compute, TrainingState } from "./lib/run/checkpoint.ts";
export { AppendLog } from "./lib/run/append_log.ts";
export {
  appendMetrics,
  metricsLine,
  type MetricsRow,
  openMetrics,
  readMetrics,
  withoutMeasurements,
} from "./lib/run/metrics.ts";
export { appendEvents, crc32c, openEvents, tfRecord } from "./lib/run/tensorboard.ts";
export { duration, type ProgressEvent, type ProgressOptions, progressPrinter } from "./lib/run/progress.ts";

// report: tables, plots, transcripts and pages for people.
export {
  evaluationNotes,
  evaluationRows,
  fixed,
  markdownTable,
  textTable,
  wrapped,
} from "./lib/report/tables.ts";
export {
  barPlot,
  klByPosition,
  learningCurve,
  lengthCurve,
  linePlot,
  type LinePoint,
  type PlotSpec,
  type PlottedRun,
  renderSvg,
  rewardHistogram,
  searchCounts,
  searchesAgainstExactMatch,
  teacherAdvantage,
  vegaSpec,
} from "./lib/report/plots.ts";
export { chartTheme, type Scheme } from "./lib/report/theme.ts";
export {
  livePlot,
  notebookProgress,
  showHtml,
  showPlot,
  showTable,
  showTranscript,
} from "./lib/report/notebook_display.ts";
export { tokenHeatmapHtml } from "./lib/report/token_heatmap.ts";
export { contextStripsHtml } from "./lib/report/context_strips.ts";
export { heatmapOf } from "./lib/report/run_transcripts.ts";
export type { Heatmap, HeatmapToken } from "./lib/report/page_data.ts";
export { type Author, escapeHtml, type Stretch, stretches, transcriptText } from "./lib/report/transcript.ts";
export { finishedRun, notebookPreset } from "./lib/report/notebook_setup.ts";
export { writeReport } from "./lib/report/report.ts";
export { meanAndDeviation, studyPage, type StudyRun } from "./lib/report/study.ts";
export { configReference } from "./lib/report/config_reference.ts";
