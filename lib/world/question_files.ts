/**
 * Users' own questions: JSON lines of `{question, answers}` (FlashRAG's `golden_answers` too), and Search-R1's rows as
 * JSON lines or parquet.
 *
 * @module
 */
import { asyncBufferFromFile, parquetReadObjects } from "hyparquet";
import { InputError } from "../base/input_error.ts";
import { type JsonRow, readInput, readJsonLines, shown, textAt } from "../base/json_lines.ts";
import type { ChatMessage } from "../model/policy.ts";
import type { Question } from "./question.ts";

/** Where the gold answers of a plain row may stand. */
const answerKeys = ["answers", "golden_answers", "answer"];

/**
 * Reads questions from a `.parquet` file or from JSON lines. A question's id, which is its GRPO group, is
 * `data_source/split/index`; a plain row takes the file's name, `split` or "train", and `index`, `id` or its place.
 *
 * @throws {InputError} when the file is missing or empty, a row lacks its question or answers, or an id stands twice.
 *
 * @example
 * ```ts
 * import { readQuestions } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * const path = await Deno.makeTempFile({ suffix: ".jsonl" });
 * await Deno.writeTextFile(path, `{"data_source": "nq", "question": "Who?", "golden_answers": ["Ada", "Ada Lovelace"]}`);
 * assertEquals(await readQuestions(path), [
 *   { id: "nq/train/0", question: "Who?", answers: ["Ada", "Ada Lovelace"] },
 * ]);
 * await Deno.remove(path);
 * ```
 */
export async function readQuestions(path: string): Promise<Question[]> {
  const rows = path.endsWith(".parquet") ? await parquetRows(path) : await readJsonLines(path);
  const source = path.slice(path.lastIndexOf("/") + 1).replace(/\.\w+$/, "");
  const seen = new Map<string, number>();
  return rows.map((row, place) => {
    const question = "reward_model" in row.value
      ? searchR1Question(row, place)
      : plainQuestion(row, place, source);
    const before = seen.get(question.id);
    if (before !== undefined) {
      throw new InputError(
        `${row.complaint}: its data_source/split/index "${question.id}" is that of question ${before}; give each its own`,
      );
    }
    seen.set(question.id, place + 1);
    return question;
  });
}

function plainQuestion(row: JsonRow, place: number, source: string): Question {
  const question = textAt(row, "question");
  if (!question) throw new InputError(`${row.complaint}: "question" is missing; write the question there`);
  const key = answerKeys.find((key) => row.value[key] !== undefined && row.value[key] !== null);
  if (key === undefined) {
    throw new InputError(`${row.complaint}: "answers" is missing; write a list of the gold answers there`);
  }
  const index = textAt(row, "index") ?? textAt(row, "id") ?? place;
  const hops = row.value["hops"];
  if (hops !== undefined && !Number.isInteger(hops)) {
    throw new InputError(`${row.complaint}: "hops" is ${shown(hops)}; make it a whole number`);
  }
  return {
    id: `${textAt(row, "data_source") ?? source}/${textAt(row, "split") ?? "train"}/${index}`,
    question,
    answers: goldAnswers(row.value[key], row, key),
    ...(hops === undefined ? {} : { hops: hops as number }),
  };
}

/** A row of Search-R1 (arXiv 2503.09516): data_source, prompt, reward_model.ground_truth.target, extra_info. */
function searchR1Question(row: JsonRow, place: number): Question {
  const source = textAt(row, "data_source");
  if (!source) throw new InputError(`${row.complaint}: "data_source" is missing; name the data set there`);
  const target = at(row.value, "reward_model", "ground_truth", "target");
  if (target === undefined) {
    throw new InputError(
      `${row.complaint}: "reward_model.ground_truth.target" is missing; write the gold answers there`,
    );
  }
  const prompt = promptOf(row);
  const question = textAt(row, "question") ?? questionIn(prompt);
  if (!question) {
    throw new InputError(`${row.complaint}: "prompt" is missing; add the messages of the prompt`);
  }
  const split = at(row.value, "extra_info", "split") ?? "train";
  const index = at(row.value, "extra_info", "index") ?? place;
  return {
    id: `${source}/${split}/${index}`,
    question,
    answers: goldAnswers(target, row, "reward_model.ground_truth.target"),
    ...(prompt.length > 0 ? { prompt } : {}),
  };
}

function promptOf(row: JsonRow): ChatMessage[] {
  const prompt = row.value["prompt"];
  if (prompt === undefined || prompt === null) return [];
  if (!Array.isArray(prompt)) {
    throw new InputError(`${row.complaint}: "prompt" is ${shown(prompt)}; make it a list of {role, content}`);
  }
  return prompt.map((message) => {
    const { role, content } = Object(message);
    if (!["system", "user", "assistant"].includes(role) || typeof content !== "string") {
      throw new InputError(`${row.complaint}: "prompt" holds ${shown(message)}; make it {role, content}`);
    }
    return { role, content };
  });
}

/** What stands after "Question:" in the last message, or else that message. */
function questionIn(prompt: readonly ChatMessage[]): string | undefined {
  return prompt.at(-1)?.content.split("Question:").at(-1)?.trim();
}

function goldAnswers(value: unknown, row: JsonRow, key: string): string[] {
  const answers = Array.isArray(value) ? value : [value];
  const isText = (answer: unknown) => typeof answer === "string" || typeof answer === "number";
  if (answers.length === 0 || !answers.every(isText)) {
    throw new InputError(
      `${row.complaint}: "${key}" is ${shown(value)}; make it a list of one or more answers`,
    );
  }
  return answers.map(String);
}

function at(value: unknown, ...keys: string[]): unknown {
  return keys.reduce<unknown>(
    (inner, key) => (inner as Record<string, unknown> | null | undefined)?.[key],
    value,
  ) ??
    undefined;
}

async function parquetRows(path: string): Promise<JsonRow[]> {
  const file = await readInput(path, async (path) => {
    const { size } = await Deno.stat(path);
    return size === 0 ? undefined : await asyncBufferFromFile(path);
  });
  if (file === undefined) {
    throw new InputError(`Cannot read ${path}: it is empty; write Search-R1 rows to it`);
  }
  let values: Record<string, unknown>[];
  try {
    values = await parquetReadObjects({ file });
  } catch (error) {
    throw new InputError(
      `Cannot read ${path}: ${
        (error as Error).message.replace(/\.$/, "")
      }; write it as parquet with snappy or no compression`,
    );
  }
  if (values.length === 0) {
    throw new InputError(`Cannot read ${path}: it has no rows; write Search-R1 rows to it`);
  }
  return values.map((value, i) => ({ complaint: `Cannot parse ${path} row ${i + 1}`, value }));
}
