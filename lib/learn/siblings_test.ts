import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { modelTokenCount, searchCount } from "../rollout/trajectory.ts";
import { makeTrajectory } from "../../tests/make_trajectory.ts";
import { chooseSiblings, returnOf } from "./siblings.ts";

const options = { pairsPerQuestion: 3, sameSearchesMoreTokens: false };

const group = fc.array(
  fc.record({
    correct: fc.boolean(),
    searches: fc.integer({ min: 0, max: 3 }),
    tokensPerTurn: fc.integer({ min: 1, max: 4 }),
  }),
  { maxLength: 8 },
);
const groups = fc.array(group, { maxLength: 5 }).map((groups) =>
  groups.map((group, q) =>
    group.map((made, member) => makeTrajectory({ ...made, questionId: `q${q}`, member }))
  )
);
const anyOptions = fc.record({
  pairsPerQuestion: fc.integer({ min: 1, max: 4 }),
  sameSearchesMoreTokens: fc.boolean(),
});

Deno.test("chooseSiblings() pairs a correct sibling with strictly worse trajectories of its question, never with itself", () => {
  fc.assert(fc.property(groups, anyOptions, (groups, options) => {
    for (const { sibling, student, questionId, searchGap } of chooseSiblings(groups, options).pairs) {
      assert(sibling.correct);
      assert(sibling !== student);
      assertEquals([sibling.questionId, student.questionId], [questionId, questionId]);
      const moreSearches = searchCount(student) > searchCount(sibling);
      const moreTokens = searchCount(student) === searchCount(sibling) &&
        modelTokenCount(student) > modelTokenCount(sibling);
      assert(!student.correct || moreSearches || (options.sameSearchesMoreTokens && moreTokens));
      assertEquals(searchGap, searchCount(student) - searchCount(sibling));
    }
  }));
});

Deno.test("chooseSiblings() takes the sibling with the fewest searches, then tokens, then the lowest index", () => {
  fc.assert(fc.property(groups, (groups) => {
    for (const { sibling, questionId } of chooseSiblings(groups, options).pairs) {
      const correct = groups.flat().filter((each) => each.questionId === questionId && each.correct);
      const cost = (each: typeof sibling) => [searchCount(each), modelTokenCount(each), each.member];
      const cheapest = correct.map(cost).sort((a, b) => a[0]! - b[0]! || a[1]! - b[1]! || a[2]! - b[2]!)[0];
      assertEquals(cost(sibling), cheapest);
    }
  }));
});

Deno.test("chooseSiblings() accounts for every question and every trajectory of a kept one", () => {
  fc.assert(fc.property(groups, anyOptions, (groups, options) => {
    const { pairs, counts } = chooseSiblings(groups, options);
    assertEquals(counts.questions, groups.length);
    assertEquals(counts.groupsKept + counts.withoutSibling + counts.withoutWorse, groups.length);
    const kept = new Set(pairs.map(({ questionId }) => questionId));
    assertEquals(kept.size, counts.groupsKept);
    const trajectories = groups.flat().filter(({ questionId }) => kept.has(questionId)).length;
    assertEquals(pairs.length + counts.notWorse + counts.overLimit + counts.groupsKept, trajectories);
    for (const id of kept) {
      assert(pairs.filter(({ questionId }) => questionId === id).length <= options.pairsPerQuestion);
    }
  }));
});

Deno.test("chooseSiblings() reports gaps in searches and return", () => {
  const group = [{ correct: true, searches: 1 }, { correct: true, searches: 3 }, {
    correct: false,
    searches: 0,
  }];
  const { pairs } = chooseSiblings([group.map((made) => makeTrajectory(made))], options);
  assertEquals(pairs.map(({ searchGap }) => searchGap), [2, -1]);
  assertEquals(pairs.map(({ returnGap }) => Number(returnGap.toFixed(9))), [0.2, 0.9]);
  assertEquals(returnOf(group.map((made) => makeTrajectory(made))[1]!), 0.7);
});

Deno.test("chooseSiblings() refuses a group of two questions", () => {
  const group = [makeTrajectory({ correct: true }), makeTrajectory({ questionId: "other" })];
  assertThrows(() => chooseSiblings([group], options), Error, 'Cannot pair "other" with a sibling of "q"');
});
