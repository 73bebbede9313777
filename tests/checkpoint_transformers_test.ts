/** What a run leaves is an ordinary Hugging Face folder: transformers gives the kit's logits and ids. */
import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import * as tf from "@tensorflow/tfjs";
import { openEngine } from "../lib/engine/open_engine.ts";
import { hiddenStates, outputLogits } from "../lib/model/decoder.ts";
import { loadPolicy } from "../lib/model/hf_folder.ts";
import { observationText } from "../lib/rollout/environment.ts";
import { loadConfig } from "../lib/run/config.ts";
import { openRunData } from "../lib/run/run_data.ts";
import { pythonWith } from "./python.ts";
import { runHere } from "./small_world.ts";

const script = decodeURIComponent(new URL("fixtures/check_checkpoint.py", import.meta.url).pathname);

Deno.test("every preset with a fresh model writes folders that transformers reads without a tokenizer of its own", async () => {
  for (const preset of ["tiny", "smoke", "demo"]) {
    assertEquals((await loadConfig(`data/presets/${preset}.toml`)).model.model_type, "llama", preset);
  }
});

Deno.test("a run's last checkpoint in transformers: logits within 1e-4, ids of the run's texts the same", async () => {
  const python = await pythonWith("torch", "transformers");
  if (!python) return;
  const engine = await openEngine({ engine: "wasm" });
  const folder = await Deno.makeTempDir();
  const config = await loadConfig("data/presets/tiny.toml", ['stages=["sft", "grpo"]', "grpo.steps=1"]);
  const { checkpoint } = await runHere(engine, config, folder);
  const policy = await loadPolicy(checkpoint);
  const { heldout, validation } = await openRunData(config);
  const texts = [...heldout, validation].flatMap(({ questions }) =>
    questions.map(({ question }) => question)
  );
  const hits = await heldout[0]!.retriever.search(texts.slice(0, 4), 3);
  texts.push(...hits.map((of) => observationText(of.map(({ document }) => document))));
  texts.push("<think>I look it up.</think>\n<search>Japan capital</search>", config.agent.notice);
  try {
    const child = new Deno.Command(python, {
      args: [script, checkpoint],
      env: { HF_HUB_OFFLINE: "1", TRANSFORMERS_VERBOSITY: "error" },
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    const input = child.stdin.getWriter();
    await input.write(new TextEncoder().encode(JSON.stringify(texts)));
    await input.close();
    const { success, stdout, stderr } = await child.output();
    assert(success, new TextDecoder().decode(stderr));
    const theirs = JSON.parse(new TextDecoder().decode(stdout));
    assertEquals(texts.map((text) => policy.tokenizer.encode(text)), theirs.ids);
    assertEquals(theirs.eos, policy.tokenizer.eosTokenId);
    for (const [i, ids] of (theirs.ids as number[][]).entries()) {
      const logits = tf.tidy(() => {
        const tokens_BT = tf.tensor2d([ids], undefined, "int32");
        const hidden_BTD = hiddenStates(policy.config, policy.weights, undefined, tokens_BT);
        const hidden_ND = tf.reshape(hidden_BTD, [ids.length, policy.config.hidden_size]) as tf.Tensor2D;
        return outputLogits(policy.config, policy.weights, undefined, hidden_ND);
      });
      (await logits.data()).forEach((x, j) => assertAlmostEquals(x, theirs.logits[i][j], 1e-4, texts[i]));
      logits.dispose();
    }
  } finally {
    tf.dispose(policy.weights);
    await Deno.remove(folder, { recursive: true });
    engine.close();
  }
});
