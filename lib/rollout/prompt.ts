import { InputError } from "../base/input_error.ts";
import type { Tokenizer } from "../model/policy.ts";
import type { Question } from "../world/question.ts";
import type { AgentOptions } from "./environment.ts";

/**
 * The ids of a question's prompt: the instruction with the question in it (or the row's own messages), through the chat
 * template where asked for.
 *
 * @throws {InputError} when a chat template is asked for that the tokenizer does not have.
 *
 * @example
 * ```ts
 * import { buildWordTokenizer, loadTokenizer, promptTokens } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * const tokenizer = loadTokenizer(buildWordTokenizer(["Question: Who?"]));
 * const options = { instruction: "Question: {question}\n", chatTemplate: false, useRowPrompts: false };
 * const tokens = promptTokens({ id: "q", question: "Who?", answers: ["Ada"] }, tokenizer, options);
 * assertEquals(tokenizer.decode(tokens), "Question: Who?\n");
 * ```
 */
export function promptTokens(
  question: Question,
  tokenizer: Tokenizer,
  options: Pick<AgentOptions, "instruction" | "chatTemplate" | "useRowPrompts">,
): number[] {
  const messages = options.useRowPrompts && question.prompt ? question.prompt : [{
    role: "user" as const,
    content: options.instruction.replace("{question}", () => question.question),
  }];
  if (!options.chatTemplate) return tokenizer.encode(messages.map((message) => message.content).join("\n"));
  if (!tokenizer.applyChatTemplate) {
    throw new InputError(
      "Cannot apply agent.chat_template: the tokenizer has no chat template; set agent.chat_template = false",
    );
  }
  return tokenizer.encode(tokenizer.applyChatTemplate(messages));
}
