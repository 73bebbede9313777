import { assertEquals, assertRejects } from "@std/assert";
import { InputError } from "../base/input_error.ts";
import { createBm25 } from "../search/bm25.ts";
import { readDemonstrations } from "./demonstration_files.ts";

const document = { id: "0", contents: '"Japan"\nThe capital of Japan is Tokyo.' };
const options = { retriever: createBm25({ documents: [document] }), topK: 3, notice: "\nTry again.\n" };

async function read(...rows: unknown[]) {
  const folder = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(`${folder}/shown.jsonl`, rows.map((row) => JSON.stringify(row)).join("\n"));
    return await readDemonstrations(`${folder}/shown.jsonl`, options);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("readDemonstrations() writes searches, answers, thoughts and free text as the agent does", async () => {
  const information =
    '\n\n<information>Doc 1(Title: "Japan") The capital of Japan is Tokyo.</information>\n\n';
  const turns = [
    { search: "Japan capital" },
    { text: "Hm.", loss: false },
    { think: "Look it up.", search: "Tokyo", documents: [document] },
    { think: "Done.", answer: "Tokyo" },
  ];
  const row = { question: "What is the capital of Japan?", answers: ["Tokyo"], hint: "Search once.", turns };
  assertEquals(await read(row), [{
    question: {
      id: "demonstrations/shown.jsonl/0",
      question: "What is the capital of Japan?",
      answers: ["Tokyo"],
    },
    hint: "<hint>Search once.</hint>",
    segments: [
      { text: "<search>Japan capital</search>", role: "model" },
      { text: information, role: "environment" },
      { text: "Hm.", role: "noise" },
      { text: "\nTry again.\n", role: "environment" },
      { text: "<think>Look it up.</think>\n<search>Tokyo</search>", role: "model" },
      { text: information, role: "environment" },
      { text: "<think>Done.</think>\n<answer>Tokyo</answer>", role: "model" },
    ],
  }]);
});

Deno.test("readDemonstrations() says what is wrong with which turn", async () => {
  const refused = (row: unknown, message: string) => assertRejects(() => read(row), InputError, message);
  const row = (...turns: unknown[]) => ({ question: "a?", turns });
  await refused({ turns: [{ answer: "x" }] }, 'row 1: "question" is missing');
  await refused({ question: "a?" }, 'row 1: "turns" is null; make it a list');
  await refused(row(), 'row 1: "turns" is []');
  await refused(
    { ...row({ answer: "x" }), answers: "x" },
    'row 1: "answers" is "x"; make it a list of strings',
  );
  await refused(
    row({ answer: "x" }, { think: "x" }),
    'row 1: turns[1] is {"think":"x"}; give it one of "search"',
  );
  await refused(row({ answer: "x", search: "y" }), "row 1: turns[0] is");
  await refused(row({ querry: "x" }), 'row 1: turns[0] has the unknown key "querry"');
  await refused(row({ search: ["x"] }), 'row 1: turns[0]: "search" is ["x"]; make it a string');
  await refused(row({ search: "x", documents: ["y"] }), 'row 1: turns[0]: "documents" is ["y"]');
  await refused(row({ answer: "x", loss: false }), 'row 1: every turn has "loss": false');
  await refused(row("x"), "row 1: turns[0]");
});
