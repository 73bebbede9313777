import type { ChatMessage } from "../model/policy.ts";

/** One question with its gold answers. */
export interface Question {
  /** Unique over all sources: `data_source/split/index`. It is the GRPO group id. */
  id: string;
  question: string;
  /** Gold answers: any of them counts. */
  answers: string[];
  /** The prompt of a Search-R1 row; used instead of the config's instruction when `agent.use_row_prompts` is set. */
  prompt?: ChatMessage[];
  /** Number of facts that have to be chained, where known. */
  hops?: number;
}
