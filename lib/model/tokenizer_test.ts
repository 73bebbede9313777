import { assertEquals, assertThrows } from "@std/assert";
import { InputError } from "../base/input_error.ts";
import { loadTokenizer } from "./tokenizer.ts";

const vocab = { "<pad>": 0, "<eos>": 1, "<unk>": 2, who: 3, lies: 4, "?": 5 };
const json = {
  version: "1.0",
  added_tokens: [{ id: 1, content: "<eos>", special: true }],
  normalizer: null,
  pre_tokenizer: { type: "Whitespace" },
  post_processor: null,
  decoder: null,
  model: { type: "WordPiece", unk_token: "<unk>", continuing_subword_prefix: "##", vocab },
};
const config = { eos_token: { content: "<eos>" }, pad_token: "<pad>", unk_token: "<unk>" };

function load(jsonChange: object, configChange: object = {}, more: Record<string, string> = {}) {
  return loadTokenizer({
    "tokenizer.json": JSON.stringify({ ...json, ...jsonChange }),
    "tokenizer_config.json": JSON.stringify({ ...config, ...configChange }),
    ...more,
  }, "runs/x");
}

Deno.test("loadTokenizer() reads ids, special tokens and files", () => {
  const tokenizer = load({});
  assertEquals(tokenizer.encode("who lies? nobody"), [3, 4, 5, 2]);
  assertEquals(tokenizer.encode(""), []);
  assertEquals(tokenizer.decode([3, 4, 1, 999]), "who lies <eos>");
  assertEquals(tokenizer.decode([]), "");
  assertEquals([tokenizer.vocabSize, tokenizer.eosTokenId, tokenizer.padTokenId], [6, 1, 0]);
  assertEquals(Object.keys(tokenizer.files), ["tokenizer.json", "tokenizer_config.json"]);
  assertEquals(tokenizer.applyChatTemplate, undefined);
});

Deno.test("loadTokenizer() encodes a text again as before, whatever the caller did with the first answer", () => {
  const { encode } = load({});
  const ids = encode("who lies");
  ids.push(5);
  assertEquals(encode("who lies"), [3, 4]);
  const long = "lies ".repeat(2 ** 20); // more than is kept of all texts
  assertEquals(encode(long).length, 2 ** 20);
  assertEquals([encode("who lies"), encode(long).at(-1)], [[3, 4], 4]);
});

Deno.test("loadTokenizer() pads with the end token where there is no padding token", () => {
  assertEquals(load({}, { pad_token: null }).padTokenId, 1);
  assertThrows(
    () => load({}, { pad_token: null, eos_token: null }),
    InputError,
    "neither pad_token nor eos_token",
  );
});

Deno.test("loadTokenizer() finds the chat template in either place", () => {
  const messages = [{ role: "user", content: "who" }] as const;
  const template = "{{ messages[0].content }}{{ eos_token }}";
  for (
    const tokenizer of [
      load({}, { chat_template: template }),
      load({}, { chat_template: [{ name: "tools", template: "x" }, { name: "default", template }] }),
      load({}, {}, { "chat_template.jinja": template }),
    ]
  ) assertEquals(tokenizer.applyChatTemplate!(messages), "who<eos>");
  assertThrows(
    () => load({}, { chat_template: "{% if" }),
    InputError,
    "Cannot parse the chat template of runs/x",
  );
});

Deno.test("loadTokenizer() says what is wrong with its files", () => {
  assertThrows(
    () => loadTokenizer({}, "runs/x"),
    InputError,
    "Cannot load runs/x: tokenizer.json is missing",
  );
  const broken = { "tokenizer.json": "{", "tokenizer_config.json": "{}" };
  assertThrows(() => loadTokenizer(broken, "runs/x"), InputError, "Cannot parse tokenizer.json of runs/x");
  assertThrows(
    () => load({ model: { type: "WordLevel", vocab } }),
    InputError,
    "of type WordLevel, which is not",
  );
  assertThrows(
    () => load({}, { eos_token: "</s>" }),
    InputError,
    `eos_token "</s>" of tokenizer_config.json is not in`,
  );
});
