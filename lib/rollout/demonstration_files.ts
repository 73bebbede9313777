/**
 * Users' own demonstrations for SFT: JSON lines of
 *
 *     {"question": "…", "answers": ["…"], "hint": "…",
 *      "turns": [{"think": "…", "search": "…", "documents": [{"id": "…", "contents": "…"}]},
 *                {"text": "…", "loss": false},
 *                {"think": "…", "answer": "…"}]}
 *
 * `answers`, `hint`, `think`, `documents` and `loss` may be left out. A turn is a search, an answer, or free text
 * without an action, which the environment answers with its notice; `"loss": false` marks a turn that the model reads
 * but is not to learn. A search without documents is looked up.
 *
 * @module
 */
import { InputError } from "../base/input_error.ts";
import { type JsonRow, readJsonLines, shown, textAt } from "../base/json_lines.ts";
import type { Document, Retriever } from "../search/retriever.ts";
import { observationText } from "./environment.ts";
import type { Demonstration, Segment } from "./demonstrators.ts";

/** How turns without documents are completed. */
export interface DemonstrationFileOptions {
  retriever: Retriever;
  /** Documents a search returns. */
  topK: number;
  /** What the environment says to a turn without an action. */
  notice: string;
}

const actions = ["search", "answer", "text"] as const;
const turnKeys = [...actions, "think", "documents", "loss"];

/**
 * Reads demonstrations from JSON lines.
 *
 * @throws {InputError} when the file is missing or empty, or a row has no question, no turns, or a turn without an action.
 *
 * @example
 * ```ts
 * import { createBm25, readDemonstrations } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * const path = await Deno.makeTempFile({ suffix: ".jsonl" });
 * await Deno.writeTextFile(path, `{"question": "Who?", "turns": [{"think": "Easy.", "answer": "Ada"}]}`);
 * const options = { retriever: createBm25({ documents: [] }), topK: 3, notice: "\nTry again.\n" };
 * const [made] = await readDemonstrations(path, options);
 * assertEquals(made!.segments, [{ text: "<think>Easy.</think>\n<answer>Ada</answer>", role: "model" }]);
 * await Deno.remove(path);
 * ```
 */
export async function readDemonstrations(
  path: string,
  options: DemonstrationFileOptions,
): Promise<Demonstration[]> {
  const made: Demonstration[] = [];
  for (const [i, row] of (await readJsonLines(path)).entries()) {
    const question = textAt(row, "question");
    if (!question) throw new InputError(`${row.complaint}: "question" is missing; write the question there`);
    const { turns, answers = [] } = row.value;
    if (!Array.isArray(turns) || turns.length === 0) {
      throw new InputError(
        `${row.complaint}: "turns" is ${shown(turns ?? null)}; make it a list of one or more turns`,
      );
    }
    if (!Array.isArray(answers) || !answers.every((answer) => typeof answer === "string")) {
      throw new InputError(`${row.complaint}: "answers" is ${shown(answers)}; make it a list of strings`);
    }
    const segments: Segment[] = [];
    for (const [place, turn] of turns.entries()) {
      const complaint = `${row.complaint}: turns[${place}]`;
      segments.push(...await turnSegments({ complaint, value: Object(turn) }, options));
    }
    if (!segments.some(({ role }) => role === "model")) {
      throw new InputError(`${row.complaint}: every turn has "loss": false; leave one to learn from`);
    }
    const hint = textAt(row, "hint");
    made.push({
      question: { id: `demonstrations/${path.slice(path.lastIndexOf("/") + 1)}/${i}`, question, answers },
      segments,
      ...(hint === undefined ? {} : { hint: `<hint>${hint}</hint>` }),
    });
  }
  return made;
}

async function turnSegments(
  turn: JsonRow,
  { retriever, topK, notice }: DemonstrationFileOptions,
): Promise<Segment[]> {
  const { complaint, value } = turn;
  const stranger = Object.keys(value).find((key) => !turnKeys.includes(key));
  if (stranger !== undefined) {
    throw new InputError(`${complaint} has the unknown key "${stranger}"; a turn has ${turnKeys.join(", ")}`);
  }
  const given = actions.filter((action) => value[action] !== undefined);
  if (given.length !== 1) {
    throw new InputError(`${complaint} is ${shown(value)}; give it one of "search", "answer" and "text"`);
  }
  const action = given[0]!;
  const content = textAt(turn, action)!;
  const think = textAt(turn, "think");
  const role = value["loss"] === false ? "noise" as const : "model" as const;
  const opening = think === undefined ? "" : `<think>${think}</think>\n`;
  if (action === "text") return [{ text: opening + content, role }, { text: notice, role: "environment" }];
  const segment: Segment = { text: `${opening}<${action}>${content}</${action}>`, role };
  if (action === "answer") return [segment];
  const documents = value["documents"] === undefined
    ? (await retriever.search([content], topK))[0]!.map(({ document }) => document)
    : documentsIn(value["documents"], complaint);
  return [segment, { text: observationText(documents), role: "environment" }];
}

function documentsIn(value: unknown, complaint: string): Document[] {
  const isDocument = (item: unknown) => typeof Object(item).contents === "string";
  if (!Array.isArray(value) || !value.every(isDocument)) {
    throw new InputError(`${complaint}: "documents" is ${shown(value)}; make it a list of {id, contents}`);
  }
  return value.map(({ id = "", contents }) => ({ id: String(id), contents }));
}
