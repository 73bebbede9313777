import { assert, assertFalse } from "@std/assert";
import { supported } from "./support.ts";

const documents = [
  { id: "0", contents: '"Brazil"\nThe currency of Brazil is the Brazilian\u00a0Real.' },
  { id: "1", contents: '"São Paulo"\nSão Paulo lies in Brazil.' },
];

Deno.test("supported() finds an answer in a text or a title, normalised as exact match does", () => {
  for (const answer of ["Brazilian Real", "brazilian\u00a0real", "the Brazil", "São Paulo", "paulo"]) {
    assert(supported(answer, documents), answer);
  }
});

Deno.test("supported() takes whole words of one document only", () => {
  for (const answer of ["Braz", "Brazil Paulo", "Peso", "", "the"]) {
    assertFalse(supported(answer, documents), answer);
  }
  assertFalse(supported("Brazil", []));
});
