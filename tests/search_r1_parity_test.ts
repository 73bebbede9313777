/** Our text functions against numbers that Search-R1's own code gave; see tests/fixtures/make_search_r1_fixtures.py. */
import { assertAlmostEquals, assertEquals, assertGreater, assertGreaterOrEqual } from "@std/assert";
import { isWellFormed, searchR1Score } from "../lib/learn/reward.ts";
import { observationText, parseAction } from "../lib/rollout/environment.ts";
import {
  exactMatch,
  extractAnswer,
  normalizeAnswer,
  substringExactMatch,
} from "../lib/world/answer_metrics.ts";
import fixture from "./fixtures/search_r1.json" with { type: "json" };

/** Compares `actual` with `expected` over all cases and names the first that differ. */
function assertAll<T>(cases: readonly T[], actual: (each: T) => unknown, expected: (each: T) => unknown) {
  assertGreaterOrEqual(cases.length, 200);
  const wrong = cases.filter((each) => actual(each) !== expected(each));
  assertEquals(wrong.slice(0, 3).map((each) => ({ each, actual: actual(each) })), []);
}

Deno.test("normalizeAnswer() equals Search-R1's on every string", () => {
  assertAll(fixture.normalized, ([text]) => normalizeAnswer(text!), ([, normalized]) => normalized);
});

Deno.test("exactMatch() and substringExactMatch() equal Search-R1's em_check and subem_check", () => {
  assertAll(fixture.matches, (each) => exactMatch(each.prediction, each.golds), (each) => each.em === 1);
  assertAll(
    fixture.matches,
    (each) => substringExactMatch(each.prediction, each.golds),
    (each) => each.subem === 1,
  );
  assertGreater(fixture.matches.filter(({ em }) => em === 1).length, 50);
});

Deno.test("extractAnswer() equals Search-R1's extract_solution on a whole text and on a response", () => {
  const whole = (text: string) => extractAnswer(text, { promptAnswers: 1 });
  assertAll(fixture.extracted, ({ text }) => whole(text), (each) => each.whole);
  assertAll(fixture.extracted, ({ text }) => extractAnswer(text), ({ response }) => response);
  assertGreater(fixture.extracted.filter(({ response }) => response !== null).length, 50);
});

Deno.test("parseAction() equals Search-R1's postprocess_predictions", () => {
  assertAll(fixture.actions, ({ text }) => parseAction(text)?.kind ?? null, ({ kind }) => kind);
  assertAll(fixture.actions, ({ text }) => parseAction(text)?.content ?? "", ({ content }) => content);
});

Deno.test("observationText() equals what Search-R1's environment appends after a search", () => {
  const documents = (contents: readonly string[]) =>
    contents.map((text, i) => ({ id: `${i}`, contents: text }));
  assertAll(
    fixture.observations,
    ({ contents }) => observationText(documents(contents)),
    ({ observation }) => observation,
  );
});

Deno.test("isWellFormed() and searchR1Score() equal Search-R1's qa_em_format", () => {
  assertAll(fixture.scores, ({ response }) => isWellFormed(response), ({ wellFormed }) => wellFormed);
  assertGreater(fixture.scores.filter(({ wellFormed }) => wellFormed).length, 50);
  for (const { response, golds, retrieval, score } of fixture.scores) {
    assertAlmostEquals(
      searchR1Score(response, golds, { structure: 0.2, final: 0.1, retrieval }),
      score,
      1e-12,
      response,
    );
  }
});
