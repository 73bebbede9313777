import { assertEquals } from "@std/assert";
import { splitWords, strip } from "./white_space.ts";

Deno.test("strip() takes off what Python takes off and leaves the byte order mark", () => {
  assertEquals(strip("\x1c\x85\u3000 a b \x1f\n"), "a b");
  assertEquals(strip("\ufeffa\u200b"), "\ufeffa\u200b");
  assertEquals(strip(" \t"), "");
});

Deno.test("splitWords() gives no empty word", () => {
  assertEquals(splitWords(" \n"), []);
  assertEquals(splitWords("a\x85 b"), ["a", "b"]);
});
