import { assertEquals, assertThrows } from "@std/assert";
import { letters } from "../../tests/tiny_policy.ts";
import { stopMatcher } from "./stop_strings.ts";

/** The number of tokens after which the matcher stops, or 0. */
function stopsAfter(text: string, stops: string[]): number {
  const completes = stopMatcher(letters, stops);
  const ids = letters.encode(text);
  return ids.findIndex((_, i) => completes(ids.slice(0, i + 1))) + 1;
}

Deno.test("stopMatcher() stops at the token that completes a stop string", () => {
  assertEquals(stopsAfter("HELLOWORLD", ["OW", "LD"]), 6);
  assertEquals(stopsAfter("HELLO", ["LX"]), 0);
  assertEquals(stopsAfter("HELLO", []), 0);
});

Deno.test("stopMatcher() finds stop strings within and across tokens, and decodes a row only for tokens that may end one", () => {
  const pieces = ["a</", "b>", "se", "arch>x", "\uFFFD", "c"];
  let calls = 0;
  const tokenizer = {
    ...letters,
    decode: (ids: readonly number[]) => {
      if (ids.length > 1) calls++;
      return ids.map((id) => pieces[id]).join("");
    },
  };
  const completes = stopMatcher(tokenizer, ["</search>"]);
  assertEquals([[5], [5, 0], [5, 0, 2], [5, 0, 2, 3]].map(completes), [false, false, false, true]);
  assertEquals(calls, 1);
  assertEquals(completes([5, 1]), false);
  assertEquals(completes([5, 4]), false);
  assertEquals(calls, 3);
});

Deno.test("stopMatcher() refuses an empty stop string", () => {
  assertThrows(() => stopMatcher(letters, [""]), RangeError, "empty stop string");
});
