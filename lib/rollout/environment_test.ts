import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { formatDocuments, observationText, parseAction } from "./environment.ts";

Deno.test("parseAction() takes the first complete action and trims it, whatever stands around", () => {
  const cases: [text: string, kind: string | undefined, content: string][] = [
    ["<search>a</search><answer>b</answer>", "search", "a"],
    ["<answer> b\n</answer><search>a</search>", "answer", "b"],
    ["<search>a<answer>b</answer>", "answer", "b"],
    ["<search>a <search>b</search>", "search", "a <search>b"],
    ["<search></search>", "search", ""],
    ["<search>a</answer>", undefined, ""],
    ["<Search>a</Search>", undefined, ""],
    ["</search>a<search>", undefined, ""],
    ["", undefined, ""],
  ];
  for (const [text, kind, content] of cases) {
    const action = parseAction(text);
    assertEquals([action?.kind, action?.content ?? ""], [kind, content], text);
  }
});

Deno.test("parseAction() reads back every query and answer that holds no tag", () => {
  const content = fc.string().filter((text) => !/[<>]/.test(text));
  fc.assert(fc.property(content, fc.constantFrom("search", "answer"), (text, kind) => {
    const action = parseAction(`<think>x</think>\n<${kind}>${text}</${kind}>`);
    assertEquals(action?.kind, kind);
    assertEquals(parseAction(`<${kind}>${action!.content}</${kind}>`)!.content, action!.content);
    assertEquals(text.includes(action!.content), true);
  }));
});

Deno.test("formatDocuments() numbers documents from 1, one a line, and observationText() wraps them in the tags", () => {
  const documents = [{ id: "7", contents: '"A"\none\ntwo ' }, { id: "8", contents: "B" }];
  assertEquals(formatDocuments(documents), 'Doc 1(Title: "A") one\ntwo \nDoc 2(Title: B)');
  assertEquals(observationText([]), "\n\n<information></information>\n\n");
});
