import { assertEquals, assertRejects } from "@std/assert";
import { InputError } from "../base/input_error.ts";
import { readQuestions } from "./question_files.ts";

async function read(rows: unknown[] | string, name = "quiz.jsonl") {
  const folder = await Deno.makeTempDir();
  try {
    const text = typeof rows === "string" ? rows : rows.map((row) => JSON.stringify(row)).join("\n");
    await Deno.writeTextFile(`${folder}/${name}`, text);
    return await readQuestions(`${folder}/${name}`);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

const row = {
  data_source: "nq",
  prompt: [{ role: "user", content: "Answer the given question. Question: Who wrote it?\n" }],
  ability: "fact-reasoning",
  reward_model: { style: "rule", ground_truth: { target: ["Ada", "Ada Lovelace"] } },
  extra_info: { split: "test", index: 4 },
};

Deno.test("readQuestions() reads plain rows with the keys that people use", async () => {
  assertEquals(
    await read([
      { question: "a?", answers: ["x", "y"], hops: 2 },
      { question: "b?", golden_answers: ["z"], id: "test_7", data_source: "nq", split: "test" },
      { question: "c?", answer: 1815 },
    ]),
    [
      { id: "quiz/train/0", question: "a?", answers: ["x", "y"], hops: 2 },
      { id: "nq/test/test_7", question: "b?", answers: ["z"] },
      { id: "quiz/train/2", question: "c?", answers: ["1815"] },
    ],
  );
});

Deno.test("readQuestions() reads Search-R1's rows; the group is (data_source, split, index)", async () => {
  const other = { ...row, data_source: "hotpotqa", question: "Where?" };
  assertEquals(await read([row, other]), [
    {
      id: "nq/test/4",
      question: "Who wrote it?",
      answers: ["Ada", "Ada Lovelace"],
      prompt: row.prompt as never,
    },
    {
      id: "hotpotqa/test/4",
      question: "Where?",
      answers: ["Ada", "Ada Lovelace"],
      prompt: row.prompt as never,
    },
  ]);
});

Deno.test("readQuestions() reads Search-R1's rows from parquet", async () => {
  const path = decodeURIComponent(
    new URL("../../tests/fixtures/search_r1_rows.parquet", import.meta.url).pathname,
  );
  const questions = await readQuestions(path);
  assertEquals(questions.map(({ id, question, answers }) => ({ id, question, answers })), [
    {
      id: "nq/train/0",
      question: "Who wrote Dom Casmurro?",
      answers: ["Machado de Assis", "Joaquim Maria Machado de Assis"],
    },
    { id: "nq/train/1", question: "Which river flows through Kraków?", answers: ["Vistula", "Wisła"] },
    { id: "nq/train/2", question: "Where does the Pantanal lie?", answers: ["Brazil"] },
  ]);
  assertEquals(questions[0]!.prompt![0]!.role, "user");
});

Deno.test("readQuestions() says what is wrong with which row", async () => {
  const refused = (rows: unknown[] | string, message: string, name?: string) =>
    assertRejects(() => read(rows, name), InputError, message);
  const good = { question: "a?", answers: ["x"] };
  await refused([good, { answers: ["x"] }], 'quiz.jsonl row 2: "question" is missing');
  await refused([{ question: "a?" }], 'row 1: "answers" is missing');
  await refused(
    [{ question: "a?", answers: [] }],
    'row 1: "answers" is []; make it a list of one or more answers',
  );
  await refused([{ question: "a?", answers: [["x"]] }], 'row 1: "answers" is [["x"]]');
  await refused([{ question: ["a?"], answers: ["x"] }], 'row 1: "question" is ["a?"]; make it a string');
  await refused([{ ...good, hops: "two" }], 'row 1: "hops" is "two"; make it a whole number');
  await refused(
    [{ ...good, index: 1 }, { ...good, index: 1 }],
    'row 2: its data_source/split/index "quiz/train/1"',
  );
  await refused([{ ...row, reward_model: {} }], '"reward_model.ground_truth.target" is missing');
  await refused([{ ...row, data_source: undefined }], '"data_source" is missing');
  await refused([{ ...row, prompt: undefined }], '"prompt" is missing');
  await refused([{ ...row, prompt: "Who?" }], '"prompt" is "Who?"; make it a list of {role, content}');
  await refused([{ ...row, prompt: [{ role: "tool", content: "x" }] }], '"prompt" holds {"role":"tool"');
  await refused("not json", 'row 1: "not json" is not JSON');
  await refused("", "quiz.parquet: it is empty", "quiz.parquet");
  await refused("not parquet at all", "Cannot read ", "quiz.parquet");
  await assertRejects(() => readQuestions("nowhere.parquet"), InputError, "there is no such file");
  await assertRejects(() => readQuestions("nowhere.jsonl"), InputError, "there is no such file");
});
