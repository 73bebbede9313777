import { assert, assertAlmostEquals, assertEquals, assertFalse } from "@std/assert";
import fc from "fast-check";
import { exactMatch, extractAnswer, f1, normalizeAnswer, substringExactMatch } from "./answer_metrics.ts";

Deno.test("normalizeAnswer() is idempotent for texts of words and spaces", () => {
  const text = fc.stringMatching(/^[a-zA-Zäöß0-9 .,'-]*$/);
  fc.assert(fc.property(text, (text) => {
    const once = normalizeAnswer(text);
    assertEquals(normalizeAnswer(once), once);
  }));
});

Deno.test("f1() is SQuAD's: words counted with multiplicity, the best gold answer", () => {
  assertAlmostEquals(f1("b b c", ["b c d"]), 2 / 3);
  assertAlmostEquals(f1("Paris", ["Rome", "Paris, France"]), 2 / 3);
  assertEquals(f1("x", ["y"]), 0);
  assertEquals(f1("the", ["a"]), 1);
  assertEquals(f1("the", ["y"]), 0);
  assertEquals(f1("x", []), 0);
});

Deno.test("exactMatch() implies substringExactMatch() and an F1 of 1", () => {
  const answer = fc.string({ unit: "grapheme" });
  fc.assert(fc.property(answer, fc.array(answer), (text, golds) => {
    const all = [...golds, text.toUpperCase() === text ? text : `${text} `];
    assert(exactMatch(text, all));
    assert(substringExactMatch(text, all));
    assertEquals(f1(text, all), 1);
  }));
});

Deno.test("exactMatch() is false without gold answers", () => {
  assertFalse(exactMatch("x", []));
});

Deno.test("extractAnswer() takes the last complete answer", () => {
  assertEquals(extractAnswer("<answer>a</answer><answer>\nb\n</answer><answer>c"), "b");
  assertEquals(extractAnswer("no answer"), null);
});
