/** Bad inputs, each with the message that a person needs: it names the file, row or key, the value and the fix. */
import { assertEquals, assertMatch, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { InputError } from "../lib/base/input_error.ts";
import { loadPolicy } from "../lib/model/hf_folder.ts";
import { readSafetensors } from "../lib/model/safetensors.ts";
import { loadConfig, parseConfig } from "../lib/run/config.ts";
import { readCorpus } from "../lib/search/corpus.ts";
import { readQuestions } from "../lib/world/question_files.ts";
import { commonFlags, parseFlags } from "../tasks/command_line.ts";

/** Settings: TOML, overrides, and the whole message. */
const settings: [toml: string, sets: string[], message: string][] = [
  ["seed = ", [], "Cannot parse run.toml line 1: it is no TOML (invalid value)"],
  ["seed = 1.5", [], "Cannot use run.toml: seed = 1.5 is not allowed; give an integer of at least 0"],
  ["seed = nan", [], "Cannot use run.toml: seed = NaN is not allowed; give an integer of at least 0"],
  ['seed = "1"', [], 'Cannot use run.toml: seed = "1" is not allowed; give an integer of at least 0'],
  [
    "stages = []",
    [],
    'Cannot use run.toml: stages = [] is not allowed; give a list of items, each one of "sft", "grpo", "ofsd"',
  ],
  [
    'stages = ["sft", "gpro"]',
    [],
    'Cannot use run.toml: stages.1 = "gpro" is not allowed; give one of "sft", "grpo", "ofsd"',
  ],
  [
    'stages = ["grpo"]',
    [],
    'Cannot use run.toml: stages begins with "grpo", but model.path is empty and a fresh model knows nothing; begin with "sft"',
  ],
  ["[gpro]\nsteps = 1", [], "Cannot use run.toml: unknown key gpro; did you mean grpo?"],
  ["[grpo]\nstep = 1", [], "Cannot use run.toml: unknown key grpo.step; did you mean grpo.steps?"],
  ["", ["grpo.stesp=1"], "Cannot use --set grpo.stesp: unknown key grpo.stesp; did you mean grpo.steps?"],
  ["", ["grpo.steps"], "Cannot read --set grpo.steps: write it as key=value, such as grpo.steps=10"],
  ["seed = 1", ["seed.x=1"], "Cannot use --set seed.x=1: seed is no section"],
  [
    "[grpo]\nsteps = 0",
    [],
    "Cannot use run.toml: grpo.steps = 0 is not allowed; give an integer of at least 1, or a list of items, each an integer of at least 1",
  ],
  [
    "[grpo]\ngroup_size = 1",
    [],
    "Cannot use run.toml: grpo.group_size = 1 is not allowed; give an integer of at least 2",
  ],
  [
    "[grpo]\ndelta = 1.1",
    [],
    "Cannot use run.toml: grpo.delta = 1.1 must exceed 1 + grpo.epsilon_high = 1.2, or be 0 (off)",
  ],
  [
    "[grpo]\nmini_batches = 1000",
    [],
    "Cannot use run.toml: grpo.mini_batches = 1000 exceeds the 120 roll-outs of a step",
  ],
  [
    "[sft]\nphases = [{ steps = 3 }]",
    [],
    "Cannot use run.toml: sft.phases.0.learning_rate is missing; give a number above 0",
  ],
  [
    "[ofsd]\nclip = true",
    [],
    'Cannot use run.toml: ofsd.clip = true is not allowed; give one of "off", "entry", "token"',
  ],
  [
    '[ofsd]\ntrain = "full"\nmerge = false',
    [],
    'Cannot use run.toml: ofsd.merge = false keeps a LoRA adapter apart, but ofsd.train = "full" has none; use "lora" or merge = true',
  ],
  [
    "[agent]\nmax_new_tokens = 4096",
    [],
    "Cannot use run.toml: agent.max_new_tokens = 4096 leaves no room in agent.max_context_tokens = 4096",
  ],
  [
    '[agent]\ninstruction = "Answer"',
    [],
    "Cannot use run.toml: agent.instruction does not hold {question}; the policy would never see the question",
  ],
  [
    "[reward]\nexact_match = 0",
    [],
    "Cannot use run.toml: reward has only zero weights; give at least one of exact_match, f1, substring, format a weight above 0",
  ],
  [
    "[model]\nhidden_size = 66",
    [],
    "Cannot use run.toml: model.hidden_size = 66 is not a multiple of model.heads = 4",
  ],
  ["[model]\nkv_heads = 3", [], "Cannot use run.toml: model.kv_heads = 3 does not divide model.heads = 4"],
  [
    "[world]\nhop_shares = [0.5, 0.5, 0.5]",
    [],
    "Cannot use run.toml: world.hop_shares sums to 1.5; the shares must sum to 1",
  ],
  [
    "[world]\nairports = 130",
    [],
    "Cannot use run.toml: world.airports = 130 exceeds world.cities = 120; each airport needs its own city",
  ],
  [
    '[world]\nquestions = "q.jsonl"',
    [],
    'Cannot use run.toml: world.questions is set, but world.kind is "atlas"; set it to "files" or drop the key',
  ],
  [
    "",
    ["world.kind=files"],
    'Cannot use run.toml: world.questions is missing; world.kind = "files" trains on it',
  ],
  [
    '[world]\nkind = "files"\nquestions = "q.jsonl"',
    [],
    "Cannot use run.toml: world.validation is missing; it chooses the best checkpoint and rolls OFSD back, so it must be a file of its own",
  ],
  [
    '[world]\nkind = "files"\nquestions = "q.jsonl"\nvalidation = "q.jsonl"\nheldout = { nq = "nq.jsonl" }',
    [],
    'Cannot use run.toml: world.questions = "q.jsonl" is also the validation set; they must differ',
  ],
  [
    "",
    ["retriever.kind=http"],
    'Cannot use run.toml: retriever.url is empty; the http retriever needs it, such as "http://127.0.0.1:8000"',
  ],
  [
    '[retriever]\nkind = "http"\nurl = "localhost:8000"',
    [],
    'Cannot use run.toml: retriever.url = "localhost:8000" is no address; give one that starts with http:// or https://',
  ],
];

/** Flags of a task, and the whole message. */
const flags: [args: string[], message: string][] = [
  [["--engin", "wasm"], "Cannot use --engin: unknown flag of deno task demo; did you mean --engine?"],
  [
    ["--xyzzy"],
    "Cannot use --xyzzy: unknown flag of deno task demo; known are --config, --set, --seed, --engine, --out",
  ],
  [["run"], "Cannot use run: deno task demo takes flags only; see --help"],
  [["--out"], "Cannot use --out: give a value, --out FOLDER"],
];

for (const [toml, sets, message] of settings) {
  Deno.test(`parseConfig() refuses ${JSON.stringify(toml + sets.join(" ")).slice(0, 70)}`, () => {
    assertEquals(assertThrows(() => parseConfig(toml, "run.toml", sets), InputError).message, message);
  });
}

for (const [args, message] of flags) {
  Deno.test(`parseFlags() refuses ${args.join(" ")}`, () => {
    assertEquals(assertThrows(() => parseFlags("demo", commonFlags, args), InputError).message, message);
  });
}

/** Files: what is in them, what reads them, and how the message begins; `FILE` stands for the path. */
const files: [content: string, read: (path: string) => Promise<unknown>, message: string][] = [
  ["", readQuestions, "Cannot read FILE: it is empty"],
  ["{\n", readQuestions, "Cannot parse FILE row 1"],
  ["[]\n", readQuestions, "Cannot parse FILE row 1"],
  ['{"question": "q?"}\n', readQuestions, "Cannot parse FILE row 1"],
  [
    '{"question": "q?", "answers": ["a"]}\n{"question": "", "answers": ["a"]}\n',
    readQuestions,
    "Cannot parse FILE row 2",
  ],
  [
    '{"question": "q?", "answers": "a", "x": 1}\n{"question": "q?", "answers": []}\n',
    readQuestions,
    "Cannot parse FILE row",
  ],
  ["", readCorpus, "Cannot read FILE: it is empty"],
  ['{"id": "1"}\n', readCorpus, "Cannot parse FILE row 1"],
  ['{"id": "1", "contents": "a"}\n{"id": "1", "contents": "b"}\n', readCorpus, "Cannot parse FILE row 2"],
  ["", readSafetensors, "Cannot read FILE as safetensors"],
  ["\x09\0\0\0\0\0\0\0{broken", readSafetensors, "Cannot read FILE"],
  ["a".repeat(64), readSafetensors, "Cannot read FILE"],
];

for (const [content, read, message] of files) {
  Deno.test(`${read.name}() refuses ${JSON.stringify(content).slice(0, 60)}`, async () => {
    const path = await Deno.makeTempFile();
    await Deno.writeTextFile(path, content);
    const error = await assertRejects(() => read(path), InputError);
    assertStringIncludes(error.message, message.replace("FILE", path));
    await Deno.remove(path);
  });
}

for (const read of [readQuestions, readCorpus, readSafetensors]) {
  Deno.test(`${read.name}() refuses a missing file`, async () => {
    const error = await assertRejects(() => read("no/such.jsonl"), InputError);
    assertStringIncludes(error.message, "Cannot read no/such.jsonl: there is no such file");
  });
}

/** Folders of a model: what is in them, and how the message begins; `FOLDER` stands for the path. */
const folders: [content: Record<string, string>, message: string][] = [
  [{}, "Cannot load FOLDER: config.json is missing"],
  [{ "config.json": "{" }, "Cannot parse FOLDER/config.json"],
  [{ "config.json": '{"model_type": "bert"}' }, 'Cannot use FOLDER/config.json: model_type is "bert"'],
];

for (const [content, message] of folders) {
  Deno.test(`loadPolicy() refuses ${JSON.stringify(content)}`, async () => {
    const folder = await Deno.makeTempDir();
    for (const [name, text] of Object.entries(content)) await Deno.writeTextFile(`${folder}/${name}`, text);
    const error = await assertRejects(() => loadPolicy(folder), InputError);
    assertStringIncludes(error.message, message.replace("FOLDER", folder));
    await Deno.remove(folder, { recursive: true });
  });
}

Deno.test("loadConfig() refuses a missing file and a folder", async () => {
  const missing = await assertRejects(() => loadConfig("no.toml"), InputError);
  assertEquals(
    missing.message,
    "Cannot read the config no.toml: there is no such file; presets are in data/presets",
  );
  const folder = await assertRejects(() => loadConfig("lib"), InputError);
  assertMatch(folder.message, /^Cannot read the config lib: /);
});
