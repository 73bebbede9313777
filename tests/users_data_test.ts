/** A user's own questions, corpus and demonstrations, with a search server of their own: SFT, GRPO and OFSD. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import * as tf from "@tensorflow/tfjs";
import { InputError } from "../lib/base/input_error.ts";
import { openEngine } from "../lib/engine/open_engine.ts";
import { loadPolicy } from "../lib/model/hf_folder.ts";
import type { Trajectory } from "../lib/rollout/trajectory.ts";
import { runPaths } from "../lib/run/run_folder.ts";
import { createBm25 } from "../lib/search/bm25.ts";
import { readCorpus } from "../lib/search/corpus.ts";
import { readQuestions } from "../lib/world/question_files.ts";
import { assertSameRun } from "./same_run.ts";
import { runHere, smallConfig, writeSmallWorld } from "./small_world.ts";

Deno.test("a run on JSON lines with a search server equals the one with search in the process", async () => {
  const engine = await openEngine({ engine: "wasm" });
  const folder = await Deno.makeTempDir();
  await writeSmallWorld(folder);
  const documents = await readCorpus(`${folder}/corpus.jsonl`);
  const bm25 = createBm25({ documents });
  let asked = 0;
  let down = false;
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, async (request) => {
    if (down) return new Response("closed", { status: 500 });
    const { queries, topk } = await request.json();
    asked += queries.length;
    return Response.json({ result: await bm25.search(queries, topk) });
  });
  const stages = ['stages=["sft", "grpo", "ofsd"]', 'ofsd.train="full"'];
  const http = [
    ...stages,
    'retriever.kind="http"',
    `retriever.url="http://127.0.0.1:${server.addr.port}"`,
    "retriever.retries=0",
  ];
  try {
    const served = await runHere(engine, smallConfig(folder, http), `${folder}/http`);
    assert(asked > 0);
    await runHere(engine, smallConfig(folder, stages), `${folder}/bm25`);
    await assertSameRun(`${folder}/http`, `${folder}/bm25`);

    assertEquals(served.evaluation.rows.map(({ stage, set }) => `${stage} ${set}`), [
      "sft cities",
      "grpo-1 cities",
      "ofsd-1 cities",
    ]);
    assert(served.evaluation.rows[0]!.em >= 0.8, "six questions were not learnt by heart");
    assert(served.metrics.some((row) => row.stage === "ofsd-1" && row["ofsd/kl"] as number > 0));

    const { tokenizer, weights } = await loadPolicy(served.checkpoint);
    tf.dispose(weights);
    for (const { question, answers } of await readQuestions(`${folder}/train.jsonl`)) {
      for (const text of [question, ...answers]) assertEquals(tokenizer.decode(tokenizer.encode(text)), text);
    }
    const rollouts = (await Deno.readTextFile(runPaths(`${folder}/http`).stageRollouts("sft", "cities")))
      .trim().split("\n").map((line): Trajectory => JSON.parse(line));
    const contents = new Set(documents.map((document) => document.contents));
    for (const { tokens, turns } of rollouts) {
      const text = tokenizer.decode(tokens);
      for (const document of turns.flatMap((turn) => turn.documents)) {
        assert(contents.has(document.contents));
        assert(text.includes(document.contents.split("\n")[1]!), `${text} lacks ${document.contents}`);
      }
    }

    down = true;
    const error = await assertRejects(
      () => runHere(engine, smallConfig(folder, http), `${folder}/down`),
      InputError,
    );
    assert(error.message.startsWith(`Cannot search at http://127.0.0.1:${server.addr.port}/retrieve`));
  } finally {
    await server.shutdown();
    await Deno.remove(folder, { recursive: true });
    engine.close();
  }
});

Deno.test("a run refuses a model of fewer positions than its contexts have before it writes anything", async () => {
  const engine = await openEngine({ engine: "wasm" });
  const folder = await Deno.makeTempDir();
  try {
    await writeSmallWorld(folder);
    const model = decodeURIComponent(new URL("./fixtures/models/qwen2_tied", import.meta.url).pathname);
    const config = smallConfig(folder, [`model.path="${model}"`, "agent.max_context_tokens=65"]);
    const { message } = await assertRejects(() => runHere(engine, config, `${folder}/run`), InputError);
    assertEquals(
      message,
      `Cannot use model.path = "${model}": it has 64 positions (max_position_embeddings), but ` +
        "agent.max_context_tokens = 65; lower that",
    );
    await assertRejects(() => Deno.stat(`${folder}/run`), Deno.errors.NotFound);
    assertEquals(tf.memory().numTensors, 0);
  } finally {
    await Deno.remove(folder, { recursive: true });
    engine.close();
  }
});
