import { assertEquals, assertRejects } from "@std/assert";
import { InputError } from "../base/input_error.ts";
import { readCorpus } from "./corpus.ts";

async function read(text: string) {
  const path = await Deno.makeTempFile({ suffix: ".jsonl" });
  try {
    await Deno.writeTextFile(path, text);
    return await readCorpus(path);
  } finally {
    await Deno.remove(path);
  }
}

Deno.test("readCorpus() reads ids and contents, and passes over empty lines", async () => {
  assertEquals(
    await read('{"id": 3, "contents": "\\"A\\"\\nB"}\n\n{"id": "x", "contents": "C", "more": 1}\r\n'),
    [
      { id: "3", contents: '"A"\nB' },
      { id: "x", contents: "C" },
    ],
  );
});

Deno.test("readCorpus() says what is wrong with which row", async () => {
  const refused = (text: string, message: string) => assertRejects(() => read(text), InputError, message);
  await refused("", "it is empty; write one JSON object a line");
  await refused('{"id": "1", "contents": "a"}\n{"contents": "b"}', 'row 2: "id" is missing');
  await refused('{"id": "1"}', 'row 1: "contents" is missing');
  await refused('{"id": "1", "contents": ["a"]}', 'row 1: "contents" is ["a"]; make it a string');
  await refused('{"id": "1", "contents": "a"}\n{"id": "1", "contents": "b"}', 'row 2: "id" "1" stands twice');
  await refused('{"id": "1", "contents": "a"', "row 1: ");
  await refused("[1]", "row 1: [1] is not an object");
  await assertRejects(() => readCorpus("/nowhere/corpus.jsonl"), InputError, "there is no such file");
  await assertRejects(() => readCorpus("."), InputError, "Cannot read .: it is a folder");
});
