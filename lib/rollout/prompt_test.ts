import { assertEquals, assertThrows } from "@std/assert";
import { InputError } from "../base/input_error.ts";
import type { ChatMessage, Tokenizer } from "../model/policy.ts";
import type { Question } from "../world/question.ts";
import { promptTokens } from "./prompt.ts";

const characters: Tokenizer = {
  vocabSize: 0x10000,
  eosTokenId: undefined,
  padTokenId: 0,
  encode: (text) => Array.from(text, (character) => character.charCodeAt(0)),
  decode: (ids) => String.fromCharCode(...ids),
  files: {},
};
const chat: Tokenizer = {
  ...characters,
  applyChatTemplate: (messages: readonly ChatMessage[]) =>
    messages.map(({ role, content }) => `[${role}]${content}`).join("") + "[assistant]",
};
const question: Question = { id: "q", question: "Who is $& and {question}?", answers: ["Ada"] };
const row: Question = {
  ...question,
  prompt: [{ role: "system", content: "Be brief." }, { role: "user", content: "Who?" }],
};
const plain = { instruction: "Q: {question}\n", chatTemplate: false, useRowPrompts: false };

function prompt(of: Question, tokenizer: Tokenizer, options: Partial<typeof plain>): string {
  return tokenizer.decode(promptTokens(of, tokenizer, { ...plain, ...options }));
}

Deno.test("promptTokens() puts the question into the instruction as it stands", () => {
  assertEquals(prompt(question, characters, {}), "Q: Who is $& and {question}?\n");
  assertEquals(prompt(row, characters, {}), "Q: Who is $& and {question}?\n");
});

Deno.test("promptTokens() uses a row's own messages where asked, and the instruction where a row has none", () => {
  assertEquals(prompt(row, characters, { useRowPrompts: true }), "Be brief.\nWho?");
  assertEquals(prompt(question, characters, { useRowPrompts: true }), "Q: Who is $& and {question}?\n");
});

Deno.test("promptTokens() applies the chat template, and refuses when there is none", () => {
  assertEquals(
    prompt(question, chat, { chatTemplate: true }),
    "[user]Q: Who is $& and {question}?\n[assistant]",
  );
  assertEquals(
    prompt(row, chat, { chatTemplate: true, useRowPrompts: true }),
    "[system]Be brief.[user]Who?[assistant]",
  );
  assertThrows(
    () => prompt(question, characters, { chatTemplate: true }),
    InputError,
    "set agent.chat_template = false",
  );
});
