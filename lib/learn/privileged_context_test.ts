import { assert, assertEquals, assertNotEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { randomStream } from "../base/random.ts";
import type { Tokenizer } from "../model/policy.ts";
import { makeTrajectory } from "../../tests/make_trajectory.ts";
import { privilegedBlock, privilegedPair, queryMask, shownSiblings } from "./privileged_context.ts";
import { chooseSiblings } from "./siblings.ts";

/** A tokenizer of the pieces that `pieces` lists; ids are positions in it. */
function tokenizerOf(pieces: readonly string[]): Tokenizer {
  return {
    vocabSize: pieces.length,
    eosTokenId: undefined,
    padTokenId: 0,
    encode(text) {
      const ids: number[] = [];
      while (text !== "") {
        const id = pieces.findIndex((piece) => text.startsWith(piece));
        if (id < 0) throw new Error(`No piece begins "${text}"`);
        ids.push(id);
        text = text.slice(pieces[id]!.length);
      }
      return ids;
    },
    decode: (ids) => ids.map((id) => pieces[id]).join(""),
    files: {},
  };
}

const ids = fc.array(fc.integer({ min: 0, max: 99 }), { maxLength: 6 });
const written = fc.array(fc.tuple(fc.integer({ min: 0, max: 99 }), fc.constantFrom(0, 1)), {
  minLength: 1,
  maxLength: 20,
});

Deno.test("privilegedPair() keeps the token ids of y and asks teacher and student for the same ones", () => {
  fc.assert(fc.property(ids, ids, written, (prompt, block, y) => {
    const tokens = [...prompt, ...y.map(([id]) => id)];
    const mask = [...prompt.map(() => 0), ...y.map(([, m]) => m)];
    const { teacher, student } = privilegedPair({ tokens, promptLength: prompt.length, mask }, block);
    const asked = ({ tokens, mask }: typeof teacher) => tokens.filter((_, t) => mask[t] === 1);
    assertEquals(asked(teacher), asked(student));
    assertEquals(asked(student), y.filter(([, m]) => m === 1).map(([id]) => id));
    assertEquals([student.tokens, student.mask], [tokens, mask]);
    assertEquals(teacher.tokens, [...prompt, ...block, ...y.map(([id]) => id)]);
    assertEquals(teacher.mask.length, teacher.tokens.length);
    assert(teacher.mask.slice(0, prompt.length + block.length).every((m) => m === 0));
  }));
});

Deno.test("privilegedPair() without a block gives teacher and student the same context", () => {
  const { teacher, student } = privilegedPair(makeTrajectory(), []);
  assertEquals(teacher, student);
});

Deno.test("privilegedPair() refuses to distil what the model did not write", () => {
  const trajectory = makeTrajectory();
  assertThrows(
    () => privilegedPair(trajectory, [], trajectory.tokens.map(() => 1)),
    Error,
    "Cannot distil token 0",
  );
  assertThrows(() => privilegedPair(trajectory, [], [0, 0, 0]), Error, "Cannot distil token 3");
});

Deno.test("privilegedBlock() shows all, all but the answer, or the queries, and no invalid turn", () => {
  const tokenizer = tokenizerOf([
    "Lima lies in Peru",
    "<hint>",
    "</hint>",
    "<search>",
    "</search>",
    "<information>",
    "</information>",
    "<answer>",
    "</answer>",
    "Lima",
    "Peru",
    "Doc 1(Title: Lima) ",
  ]);
  const sibling = makeTrajectory();
  const documents = [{ id: "1", contents: "Lima\nLima lies in Peru" }];
  sibling.turns = [
    { kind: "invalid", span: [3, 3], content: "", documents: [] },
    { kind: "search", span: [3, 5], content: "Lima", documents },
    { kind: "answer", span: [9, 11], content: "Peru", documents: [] },
  ];
  const shown = (mode: "full" | "no-answer" | "queries") =>
    tokenizer.decode(privilegedBlock(sibling, mode, tokenizer));
  const search = "<search>Lima</search>";
  const information = "<information>Doc 1(Title: Lima) Lima lies in Peru</information>";
  assertEquals(shown("full"), `<hint>${search}${information}<answer>Peru</answer></hint>`);
  assertEquals(shown("no-answer"), `<hint>${search}${information}</hint>`);
  assertEquals(shown("queries"), `<hint>${search}</hint>`);
});

Deno.test("shownSiblings() shuffles so that every pair gets the sibling of another question", () => {
  const group = (questionId: string) => [
    makeTrajectory({ questionId, correct: true }),
    makeTrajectory({ questionId }),
    makeTrajectory({ questionId }),
  ];
  fc.assert(fc.property(fc.integer({ min: 2, max: 9 }), fc.integer(), (questions, seed) => {
    const groups = Array.from({ length: questions }, (_, q) => group(`q${q}`));
    const { pairs } = chooseSiblings(groups, { pairsPerQuestion: 3, sameSearchesMoreTokens: false });
    const random = randomStream(seed, "shuffled sibling");
    const shown = shownSiblings(pairs, "shuffled", random);
    pairs.forEach(({ questionId }, i) => assertNotEquals(shown[i]!.questionId, questionId));
    assertEquals(new Set(shown.map(({ questionId }) => questionId)).size, questions);
    assertEquals(shownSiblings(pairs, "own", random), pairs.map(({ sibling }) => sibling));
  }));
});

Deno.test("shownSiblings() cannot shuffle one question", () => {
  const { pairs } = chooseSiblings([[makeTrajectory({ correct: true }), makeTrajectory()]], {
    pairsPerQuestion: 1,
    sameSearchesMoreTokens: false,
  });
  assertThrows(
    () => shownSiblings(pairs, "shuffled", () => 0),
    Error,
    "all pairs are of one question",
  );
});

Deno.test("queryMask() marks the query's tokens alone, also where tags and query share tokens", () => {
  const cases: [string[], number[]][] = [
    [["so ", "<search>", "Lima ", "Peru", "</search>"], [0, 0, 1, 1, 0]],
    [["<sea", "rch>Li", "ma</", "search>"], [0, 1, 1, 0]],
    [["<answer>", "<search>", " Lima ", "</search>"], [0, 0, 1, 0]],
    [["<search>", "</search>"], [0, 0]],
  ];
  for (const [pieces, expected] of cases) {
    const trajectory = makeTrajectory();
    trajectory.tokens = [0, ...pieces.map((_, i) => i), 0];
    trajectory.mask = [0, ...pieces.map(() => 1), 0];
    trajectory.turns = [{ kind: "search", span: [1, 1 + pieces.length], content: "", documents: [] }];
    assertEquals(queryMask(trajectory, tokenizerOf(pieces)), [0, ...expected, 0], pieces.join("|"));
  }
});
