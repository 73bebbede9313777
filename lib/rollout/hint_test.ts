import { assertEquals } from "@std/assert";
import { hintText, type HintTurn } from "./hint.ts";

const turns: HintTurn[] = [
  { kind: "search", content: "KIX country", informationText: "Doc 1(Title: a) b" },
  { kind: "search", content: "Japan capital", informationText: "" },
  { kind: "answer", content: "Tokyo", informationText: "" },
];

Deno.test("hintText() shows all of the sibling, all but its answer, or its queries", () => {
  const searches = "<search>KIX country</search><information>Doc 1(Title: a) b</information>" +
    "<search>Japan capital</search><information></information>";
  assertEquals(hintText(turns, "full"), `<hint>${searches}<answer>Tokyo</answer></hint>`);
  assertEquals(hintText(turns, "no-answer"), `<hint>${searches}</hint>`);
  assertEquals(
    hintText(turns, "queries"),
    "<hint><search>KIX country</search><search>Japan capital</search></hint>",
  );
});

Deno.test("hintText() is empty but for its tags where there is nothing to show", () => {
  assertEquals(hintText([], "full"), "<hint></hint>");
  assertEquals(hintText(turns.slice(2), "queries"), "<hint></hint>");
});
