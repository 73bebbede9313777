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

/** The tasks of a set. */
export function tasksOf({ questions, retriever }: QuestionSet): Task[] {
  return questions.map((question) => ({ question, retriever }));
}
