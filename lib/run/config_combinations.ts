/** Settings that are each fine and impossible together; they are refused when the config is read. */
import type { Config } from "./config.ts";

/**
 * Calls `refuse` with the key to change and what is wrong, for the first combination that cannot work.
 *
 * @param refuse Throws; its second argument continues the sentence that its first begins.
 */
export function refuseImpossible(config: Config, refuse: (path: string, problem: string) => never): void {
  const { world, retriever, model, agent, grpo, ofsd, reward, stages } = config;

  const sum = world.hop_shares.reduce((a, b) => a + b, 0);
  if (Math.abs(sum - 1) > 1e-6) refuse("world.hop_shares", `sums to ${sum}; the shares must sum to 1`);
  if (world.airports > world.cities) {
    refuse(
      "world.airports",
      `= ${world.airports} exceeds world.cities = ${world.cities}; each airport needs its own city`,
    );
  }
  refuseFiles(config, refuse);

  if (retriever.kind === "http" && retriever.url === "") {
    refuse("retriever.url", `is empty; the http retriever needs it, such as "http://127.0.0.1:8000"`);
  }
  if (retriever.kind === "http" && !/^https?:\/\/[^/]+/.test(retriever.url)) {
    refuse(
      "retriever.url",
      `= "${retriever.url}" is no address; give one that starts with http:// or https://`,
    );
  }
  if (retriever.kind === "bm25" && retriever.url !== "") {
    refuse("retriever.url", `is set, but retriever.kind is "bm25"; set it to "http" or drop the address`);
  }

  if (model.path === "") refuseSizes(config, refuse);
  if (model.path !== "" && model.tokenizer !== "") {
    refuse("model.tokenizer", `is set beside model.path; the folder ${model.path} brings its own tokenizer`);
  }

  if (agent.max_new_tokens >= agent.max_context_tokens) {
    refuse(
      "agent.max_new_tokens",
      `= ${agent.max_new_tokens} leaves no room in agent.max_context_tokens = ${agent.max_context_tokens}`,
    );
  }
  if (!agent.instruction.includes("{question}")) {
    refuse("agent.instruction", "does not hold {question}; the policy would never see the question");
  }
  if (!agent.notice.startsWith("\nMy previous action is invalid.")) {
    refuse("agent.notice", `must begin with a new line and "My previous action is invalid." as in Search-R1`);
  }
  if (agent.use_row_prompts && world.kind === "atlas") {
    refuse(
      "agent.use_row_prompts",
      'needs rows with a prompt, which the atlas does not have; use world.kind = "files"',
    );
  }

  if (reward.exact_match + reward.f1 + reward.substring + reward.format === 0) {
    refuse(
      "reward",
      "has only zero weights; give at least one of exact_match, f1, substring, format a weight above 0",
    );
  }
  if (grpo.delta > 0 && grpo.delta <= 1 + grpo.epsilon_high) {
    refuse(
      "grpo.delta",
      `= ${grpo.delta} must exceed 1 + grpo.epsilon_high = ${1 + grpo.epsilon_high}, or be 0 (off)`,
    );
  }
  if (grpo.delta > 0 && grpo.loss === "cispo") {
    refuse("grpo.delta", `is the two-sided clip of grpo.loss = "clip"; with "cispo" it must be 0`);
  }
  if (grpo.loss === "cispo" && grpo.epsilon_high < 1) {
    refuse(
      "grpo.epsilon_high",
      `= ${grpo.epsilon_high} is the bound of the ratio itself with grpo.loss = "cispo"; give 1 or more, such as 5`,
    );
  }
  const perStep = Array.isArray(grpo.questions_per_step)
    ? grpo.questions_per_step
    : [grpo.questions_per_step];
  const fewest = Math.min(...perStep) * grpo.group_size;
  if (stages.includes("grpo") && grpo.mini_batches > fewest) {
    refuse("grpo.mini_batches", `= ${grpo.mini_batches} exceeds the ${fewest} roll-outs of a step`);
  }
  if (
    config.rehearsal.per_step > 0 && world.kind === "files" && world.demonstrations === "" &&
    stages.includes("grpo")
  ) {
    refuse(
      "rehearsal.per_step",
      `= ${config.rehearsal.per_step} needs world.demonstrations; give the file or set it to 0`,
    );
  }

  if (ofsd.direction === "jsd" && (ofsd.jsd_beta === 0 || ofsd.jsd_beta === 1)) {
    refuse("ofsd.jsd_beta", `= ${ofsd.jsd_beta} is a plain KL; set ofsd.direction to "forward" or "reverse"`);
  }
  if (ofsd.train === "full" && !ofsd.merge) {
    refuse(
      "ofsd.merge",
      `= false keeps a LoRA adapter apart, but ofsd.train = "full" has none; use "lora" or merge = true`,
    );
  }
  if (ofsd.arm === "rejection-sft" && ofsd.direction !== "forward") {
    refuse(
      "ofsd.direction",
      `= "${ofsd.direction}" has no meaning for ofsd.arm = "rejection-sft", which has no teacher`,
    );
  }
  if (stages.includes("ofsd") && ofsd.samples < 2) refuse("ofsd.samples", "must be at least 2");
}

function refuseFiles(config: Config, refuse: (path: string, problem: string) => never): void {
  const { world, retriever, stages } = config;
  const keys = ["questions", "validation", "corpus", "demonstrations"] as const;
  if (world.kind === "atlas") {
    const given = keys.find((key) => world[key] !== "") ??
      (Object.keys(world.heldout).length > 0 ? "heldout" : undefined);
    if (given) {
      refuse(`world.${given}`, `is set, but world.kind is "atlas"; set it to "files" or drop the key`);
    }
    return;
  }
  if (world.questions === "") refuse("world.questions", `is missing; world.kind = "files" trains on it`);
  if (world.validation === "") {
    refuse(
      "world.validation",
      "is missing; it chooses the best checkpoint and rolls OFSD back, so it must be a file of its own",
    );
  }
  if (Object.keys(world.heldout).length === 0) {
    refuse(
      "world.heldout",
      'is missing; name at least one held-out file, such as heldout = { nq = "nq.jsonl" }',
    );
  }
  const unfit = Object.keys(world.heldout).find((name) =>
    !/^[\w-]+$/.test(name) || /^(own|pairs)$/.test(name)
  );
  if (unfit !== undefined) {
    refuse(
      "world.heldout",
      `names a set "${unfit}"; files are called by it, so use letters, digits, _ and -, and neither own nor pairs`,
    );
  }
  for (const [name, path] of [["validation", world.validation], ...Object.entries(world.heldout)] as const) {
    if (path === world.questions) {
      refuse("world.questions", `= "${path}" is also the ${name} set; they must differ`);
    }
    if (name !== "validation" && path === world.validation) {
      refuse("world.validation", `= "${path}" is also the held-out set ${name}; they must differ`);
    }
  }
  if (retriever.kind === "bm25" && world.corpus === "") {
    refuse("world.corpus", `is missing; retriever.kind = "bm25" searches in it`);
  }
  if (stages.includes("sft") && world.demonstrations === "") {
    refuse("world.demonstrations", `is missing; the sft stage learns from it (or drop "sft" from stages)`);
  }
}

function refuseSizes(config: Config, refuse: (path: string, problem: string) => never): void {
  const { model, agent, stages } = config;
  if (model.hidden_size % model.heads !== 0) {
    refuse("model.hidden_size", `= ${model.hidden_size} is not a multiple of model.heads = ${model.heads}`);
  }
  if ((model.hidden_size / model.heads) % 2 !== 0) {
    refuse(
      "model.hidden_size",
      `/ model.heads = ${model.hidden_size / model.heads} must be even, as rotary positions turn pairs`,
    );
  }
  if (model.heads % model.kv_heads !== 0) {
    refuse("model.kv_heads", `= ${model.kv_heads} does not divide model.heads = ${model.heads}`);
  }
  if (agent.max_context_tokens > model.max_position_embeddings) {
    refuse(
      "agent.max_context_tokens",
      `= ${agent.max_context_tokens} exceeds model.max_position_embeddings = ${model.max_position_embeddings}`,
    );
  }
  if (agent.chat_template && model.tokenizer === "") {
    refuse(
      "agent.chat_template",
      "needs a tokenizer with a chat template; set model.path or model.tokenizer",
    );
  }
  if (stages[0] !== "sft") {
    refuse(
      "stages",
      `begins with "${stages[0]}", but model.path is empty and a fresh model knows nothing; begin with "sft"`,
    );
  }
}
