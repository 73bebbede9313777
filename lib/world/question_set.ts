import type { Retriever } from "../search/retriever.ts";
import type { Question } from "./question.ts";

/** Questions with the search tool of their world. */
export interface QuestionSet {
  name: string;
  questions: Question[];
  retriever: Retriever;
}

/** A question and the search tool of its world. */
export interface Task {
  question: Question;
  retriever: Retriever;
}

/**
 * The tasks of a set.
 *
 * @example
 * ```ts
 * import { createBm25, tasksOf } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * const question = { id: "q", question: "Who?", answers: ["Ada"] };
 * const retriever = createBm25({ documents: [] });
 * assertEquals(tasksOf({ name: "mine", questions: [question], retriever }), [{ question, retriever }]);
 * ```
 */
export function tasksOf({ questions, retriever }: QuestionSet): Task[] {
  return questions.map((question) => ({ question, retriever }));
}
