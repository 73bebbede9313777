/**
 * A whole-word tokenizer built from texts: every word is one token, the same one wherever it stands, so that copying a
 * name is copying one token. It is an ordinary `tokenizer.json` (WordPiece without continuing pieces), which
 * @huggingface/tokenizers and transformers read alike.
 *
 * The plain space between two words, or after punctuation before a word, is not a token: reading drops it and writing
 * puts it back. Any other space is the piece `▁`. So decode(encode(text)) = text for every text of known words.
 *
 * @module
 */
import { titleAndText } from "../search/retriever.ts";
import type { Atlas } from "./atlas.ts";

/** What `buildWordTokenizer` takes beside the texts. */
export interface WordTokenizerOptions {
  /** Strings that are one piece each, wherever they stand, beside the agent's tags; no letter or digit at either end. */
  specialPieces?: readonly string[];
}

/** The tags that the agent, its environment and the privileged block use. */
const tags = ["think", "search", "answer", "information", "hint"].flatMap((tag) => [`<${tag}>`, `</${tag}>`]);
const pad = "<pad>";
const eos = "<eos>";
const unknown = "<unk>";
const titleOpening = "(Title:";
/** A space that is neither between words nor after punctuation before a word. */
const explicitSpace = "▁";
/** The place of a space that is not there, between punctuation and a word. */
const joiner = "\u2060";

const wordStart = String.raw`[\p{L}\p{N}_]`;
const wordInside = String.raw`[^ \n\t\r"()<>▁\u2060]`;
const wordEnd = String.raw`[\p{L}\p{M}\p{N}_]`;
const beforeSpace = String.raw`[\p{L}\p{M}\p{N}_,.;:?!)]`;
const notAfterTitle = String.raw`(?<!\(Title:)`;
/** Where punctuation stands right before a word, and is not inside one ("3.5"); and a title without its space. */
const gluedPlaces = String.raw`(?<=\)|(?:^|[^\p{L}\p{N}_])[,.;:?!])(?=${wordStart})|(?<=\(Title:)(?=[^ ])`;
/** A space that writing would not put back by itself. */
const explicitSpaces = String.raw`(?<!${beforeSpace}) |${notAfterTitle} (?!${wordStart})| (?![^ ])`;

/**
 * The files of a tokenizer whose words are those of `texts`: `tokenizer.json` and `tokenizer_config.json`. A word that is
 * in none of them becomes `<unk>`.
 *
 * @throws {Error} when a special piece begins or ends as words do.
 *
 * @example
 * ```ts
 * import { buildWordTokenizer, loadTokenizer } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * const tokenizer = loadTokenizer(buildWordTokenizer(["Osaka lies in Japan."]));
 * const ids = tokenizer.encode("<search>Osaka Japan</search>");
 * assertEquals(ids.length, 4);
 * assertEquals(tokenizer.decode(ids), "<search>Osaka Japan</search>");
 * ```
 */
export function buildWordTokenizer(
  texts: Iterable<string>,
  options: WordTokenizerOptions = {},
): Record<string, string> {
  const { specialPieces = [] } = options;
  const wordLike = specialPieces.find((piece) => new RegExp(`^${wordEnd}|${wordEnd}$`, "u").test(piece));
  if (wordLike !== undefined) {
    throw new Error(
      `Cannot make a piece of "${wordLike}": it begins or ends with a letter or digit, as words do`,
    );
  }
  const whole = [...new Set([...tags, titleOpening, ...specialPieces, "\n\n", "\n"])]
    .sort((a, b) => b.length - a.length);
  const inside = specialPieces.length === 0
    ? wordInside
    : `(?:(?!${specialPieces.map(escaped).join("|")})${wordInside})`;
  const word = `${wordStart}(?:${inside}*${wordEnd})?`;
  const piece = `${whole.map(escaped).join("|")}|${word}|[^ ]`;
  const vocabulary = new Set([
    pad,
    eos,
    unknown,
    ...whole,
    explicitSpace,
    joiner,
    "Doc",
    ..."0123456789.,;:?!()\"'",
  ]);
  const pattern = new RegExp(piece, "gu");
  const words = new Set<string>();
  for (const text of texts) {
    const read = text.replace(new RegExp(gluedPlaces, "gu"), joiner)
      .replace(new RegExp(explicitSpaces, "gu"), explicitSpace);
    for (const found of read.match(pattern) ?? []) words.add(found);
  }
  for (const found of [...words].sort(byCodePoint)) vocabulary.add(found);

  const special = [pad, eos, unknown].map((content, id) => ({
    id,
    content,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    special: true,
  }));
  const tokenizer = {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: special,
    normalizer: {
      type: "Sequence",
      normalizers: [
        replace(gluedPlaces, joiner),
        replace(explicitSpaces, explicitSpace),
      ],
    },
    pre_tokenizer: { type: "Split", pattern: { Regex: piece }, behavior: "Removed", invert: true },
    post_processor: null,
    decoder: {
      type: "Sequence",
      decoders: [
        { type: "WordPiece", prefix: "##", cleanup: false },
        { type: "Fuse" },
        replace(`${notAfterTitle} (?!${wordStart}|${unknown})| (?=[${joiner}${explicitSpace}])`, ""),
        replace(`(?<!${beforeSpace}|${unknown}) `, ""),
        replace(joiner, ""),
        replace(explicitSpace, " "),
      ],
    },
    model: {
      type: "WordPiece",
      unk_token: unknown,
      continuing_subword_prefix: "##",
      max_input_chars_per_word: 100,
      vocab: Object.fromEntries([...vocabulary].map((token, id) => [token, id])),
    },
  };
  const config = {
    tokenizer_class: "PreTrainedTokenizerFast",
    pad_token: pad,
    eos_token: eos,
    unk_token: unknown,
    clean_up_tokenization_spaces: false,
  };
  return {
    "tokenizer.json": JSON.stringify(tokenizer, null, 1),
    "tokenizer_config.json": JSON.stringify(config, null, 1),
  };
}

/**
 * Every text that an atlas shows to the agent: its documents as an observation has them, and its questions.
 *
 * @example
 * ```ts
 * import { atlasTexts, buildAtlas } from "@search-e1/kit";
 * import { assert } from "@std/assert";
 *
 * assert(atlasTexts(buildAtlas({ seed: "real" })).includes("What is the capital of Japan?"));
 * ```
 */
export function atlasTexts(atlas: Atlas): string[] {
  const documents = atlas.documents.map((document) => {
    const { title, text } = titleAndText(document);
    return `Doc 1(Title: ${title}) ${text}`;
  });
  const relations = atlas.facts.map(({ relation }) => relation);
  return [...documents, ...atlas.questions.map(({ question }) => question), ...new Set(relations)];
}

function replace(regex: string, content: string) {
  return { type: "Replace", pattern: { Regex: regex }, content };
}

function escaped(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
}

function byCodePoint(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
