/** The answer metrics; they live beside the gold answers, because rewards, which are lower than evaluation, use them. @module */
export * from "../world/answer_metrics.ts";
