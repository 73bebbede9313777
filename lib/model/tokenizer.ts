/** Text and token ids, from a Hugging Face `tokenizer.json`. @module */
import { Template } from "@huggingface/jinja";
import { Tokenizer as HubTokenizer } from "@huggingface/tokenizers";
import { InputError } from "../base/input_error.ts";
import type { ChatMessage, Tokenizer } from "./policy.ts";

/** The models of a tokenizer.json that @huggingface/tokenizers implements. */
const models = ["BPE", "WordPiece", "Unigram"];

/** Encoded texts that are kept, in characters: prompts, searches and what they find come again and again. */
const charactersKept = 2 ** 22;

/**
 * A tokenizer from the content of its files.
 *
 * @param files `tokenizer.json`, `tokenizer_config.json` and, where the chat template stands in a file of its own,
 * `chat_template.jinja`. Others are kept for saving.
 * @param where Named in errors: the folder that the files come from.
 * @throws {InputError} when a file is missing or broken, when the model is of a kind that is not implemented, and when
 * there is neither a padding nor an end-of-sequence token.
 *
 * @example
 * ```ts
 * import { buildWordTokenizer, loadTokenizer } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * const tokenizer = loadTokenizer(buildWordTokenizer(["Osaka lies in Japan."]));
 * assertEquals(tokenizer.decode(tokenizer.encode("Osaka lies in Japan.")), "Osaka lies in Japan.");
 * ```
 */
export function loadTokenizer(files: Readonly<Record<string, string>>, where = "the tokenizer"): Tokenizer {
  const json = parsed(files, "tokenizer.json", where);
  const config = parsed(files, "tokenizer_config.json", where);
  const kind = (json.model as { type?: string } | undefined)?.type;
  if (kind === undefined || !models.includes(kind)) {
    throw new InputError(
      `Cannot load tokenizer.json of ${where}: its model is of type ${
        kind ?? "undefined"
      }, which is not implemented; ` +
        `convert it to one of ${models.join(", ")} (a WordLevel model as WordPiece with whole words)`,
    );
  }
  let tokenizer: HubTokenizer;
  try {
    tokenizer = new HubTokenizer(json, config);
  } catch (error) {
    throw new InputError(`Cannot load tokenizer.json of ${where}: ${(error as Error).message}`);
  }
  const tokenText = (name: string): string | undefined => {
    const value = config[name] as string | { content: string } | null | undefined;
    return typeof value === "object" ? value?.content : value;
  };
  const tokenId = (name: string): number | undefined => {
    const text = tokenText(name);
    if (text === undefined) return undefined;
    const id = tokenizer.token_to_id(text);
    if (id === undefined) {
      throw new InputError(
        `Cannot load ${where}: ${name} "${text}" of tokenizer_config.json is not in tokenizer.json`,
      );
    }
    return id;
  };
  const eosTokenId = tokenId("eos_token");
  const padTokenId = tokenId("pad_token") ?? eosTokenId;
  if (padTokenId === undefined) {
    throw new InputError(
      `Cannot load ${where}: tokenizer_config.json names neither pad_token nor eos_token; add one`,
    );
  }
  const template = chatTemplate(files, config, where);
  const cleanUp = config.clean_up_tokenization_spaces === true;
  const encoded = new Map<string, number[]>();
  let characters = 0;
  let largest = 0;
  for (const id of tokenizer.get_vocab().values()) largest = Math.max(largest, id);

  return {
    vocabSize: largest + 1,
    eosTokenId,
    padTokenId,
    files,
    encode(text) {
      if (text === "") return [];
      const before = encoded.get(text);
      if (before !== undefined) return [...before];
      const { ids, tokens } = tokenizer.encode(text, { add_special_tokens: false });
      const unknown = ids.findIndex((id) => id === undefined);
      if (unknown >= 0) {
        throw new InputError(
          `Cannot encode "${tokens[unknown]}": ${where} does not know it and has no unknown token`,
        );
      }
      characters += text.length;
      if (characters > charactersKept) {
        encoded.clear();
        characters = text.length;
      }
      encoded.set(text, ids);
      return [...ids];
    },
    decode(ids) {
      const known = ids.filter((id) => tokenizer.id_to_token(id) !== undefined);
      return known.length === 0 ? "" : tokenizer.decode(known, { clean_up_tokenization_spaces: cleanUp });
    },
    ...(template && {
      applyChatTemplate: (messages: readonly ChatMessage[]) =>
        template.render({
          messages,
          add_generation_prompt: true,
          ...Object.fromEntries(
            ["bos_token", "eos_token", "pad_token", "unk_token"].map((name) => [name, tokenText(name) ?? ""]),
          ),
        }),
    }),
  };
}

function parsed(
  files: Readonly<Record<string, string>>,
  name: string,
  where: string,
): Record<string, unknown> {
  const text = files[name];
  if (text === undefined) throw new InputError(`Cannot load ${where}: ${name} is missing; add it`);
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new InputError(`Cannot parse ${name} of ${where}: ${(error as Error).message}`);
  }
}

/** The chat template: a string, or a list of named ones of which `default` is taken. */
function chatTemplate(
  files: Readonly<Record<string, string>>,
  config: Record<string, unknown>,
  where: string,
): Template | undefined {
  const stored = files["chat_template.jinja"] ?? config.chat_template;
  const text = Array.isArray(stored) ? stored.find(({ name }) => name === "default")?.template : stored;
  if (typeof text !== "string") return undefined;
  try {
    return new Template(text);
  } catch (error) {
    throw new InputError(`Cannot parse the chat template of ${where}: ${(error as Error).message}`);
  }
}
