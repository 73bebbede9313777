/** `deno task bench` as people call it, without a clock: its flags, the file it writes, and the figures' arithmetic. */
import { assert, assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import { type Job, jobsOf, rlRows, works } from "../tasks/bench/jobs.ts";
import { type BenchRow, benchRow, figure, interleaved, median, ratioOf } from "../tasks/bench/measure.ts";
import { growthJobs, growthWorks, writeGrowthPlots } from "../tasks/bench/growth.ts";
import { runTask } from "./task_process.ts";

for (
  const [args, message] of [
    [
      ["--threads", "1,x"],
      "error: Cannot use --threads 1,x: write whole numbers from 1 on by comma, such as 1,2",
    ],
    [["--engine", "tensorflw"], "error: Cannot use --engine tensorflw: did you mean tensorflow?"],
    [["--only", "trian"], "error: Cannot use --only trian: did you mean train?"],
    [
      ["--only", "zzz"],
      "error: Cannot use --only zzz: known are matmul, train, train_rl, generate, rollout, ",
    ],
    [
      ["--only", "growth/threads", "--engine", "wasm"],
      "error: Cannot measure growth/threads: growth/threads needs tensorflow and --threads 2, ",
    ],
    [["--peer"], "error: Cannot use --peer: unknown flag of deno task bench; did you mean --peers?"],
    [["fast"], "error: Cannot use fast: deno task bench takes flags only; see --help"],
  ] as const
) {
  Deno.test(`deno task bench ${args.join(" ")} exits with 2 and one line`, async () => {
    const { code, stderr } = await runTask("bench", ...args);
    const lines = stderr.split("\n").filter((line) => line !== "" && !line.startsWith("Task "));
    assertEquals(lines.length, 1, stderr);
    assert(lines[0]!.startsWith(message), lines[0]);
    assertEquals(code, 2);
  });
}

Deno.test("deno task bench writes a row for each work with the keys that were promised", async () => {
  const folder = await Deno.makeTempDir();
  const out = `${folder}/figures.json`;
  const { code, stdout, stderr } = await runTask(
    "bench",
    "--only",
    "search,matmul",
    "--engine",
    "wasm",
    "--out",
    out,
  );
  assertEquals(code, 0, stderr);
  assert(stdout.includes("ratio (> 1: ours is faster)"), stdout);
  const { rows } = JSON.parse(await Deno.readTextFile(out)) as { rows: BenchRow[] };
  assertEquals(rows.map(({ work, engine, threads, unit }) => [work, engine, threads, unit]), [
    ...Array.from({ length: 4 }, () => ["matmul", "wasm", 1, "GFLOP/s"]),
    ["search", "javascript", 1, "ms"],
  ]);
  for (const row of rows) {
    assertEquals(
      Object.keys(row),
      "work engine threads shape ours unit peer peer_value ratio ours_all peer_all busy_cores".split(" "),
    );
    assert(row.ours > 0 && row.ours_all.length >= 5);
    assertEquals(row.ours, median(row.ours_all));
    assertEquals([row.peer, row.peer_value, row.ratio, row.peer_all], [null, null, null, []]);
  }
  await Deno.remove(folder, { recursive: true });
});

Deno.test("median() is the middle value, or the mean of the two in the middle", () => {
  assertEquals(median([3, 1, 100]), 3);
  assertEquals(median([4, 1, 2, 100]), 3);
  assertThrows(() => median([]), RangeError);
});

Deno.test("ratioOf() is above 1 where ours is faster, in rates and in times", () => {
  assertEquals(ratioOf("tok/s", 30, 10), 3);
  assertEquals(ratioOf("GFLOP/s", 5, 10), 0.5);
  assertEquals(ratioOf("s", 1, 4), 4);
  assertEquals(ratioOf("ms", 4, 1), 0.25);
  assertEquals(ratioOf("GiB", 2, 3), 1.5);
});

Deno.test("figure() is work a second, milliseconds of a piece of work, or seconds of it all", () => {
  assertEquals(figure("tok/s", { seconds: 2, amount: 100 }), 50);
  assertEquals(figure("s", { seconds: 2, amount: 100 }), 2);
  assertEquals(figure("ms", { seconds: 2, amount: 100 }), 20);
});

Deno.test("interleaved() lets both begin in turn, and gives the peer what ours recorded", async () => {
  const log: string[] = [];
  const turns = [{ contexts: [[1]], lengths: [2] }];
  const side = (name: string, amount: number) => ({
    prepare: (request: { data: unknown }) => {
      log.push(`${name} ${JSON.stringify(request.data)}`);
      return Promise.resolve({ ready: true as const, ...(name === "ours" ? { turns } : {}) });
    },
    repeat: () => {
      log.push(name);
      return Promise.resolve({ seconds: 1, amount });
    },
  });
  const request = { task: "rollout", shape: {}, data: { folder: "f" }, warm: 1, warmSeconds: 0 };
  const figures = await interleaved("tok/s", request, side("ours", 6), side("peer", 3), 3);
  assertEquals(log, [
    'ours {"folder":"f"}',
    `peer ${JSON.stringify({ folder: "f", turns })}`,
    ...["ours", "peer", "peer", "ours", "ours", "peer"],
  ]);
  const about = { work: "rollout", engine: "wasm", threads: 1, shape: {}, unit: "tok/s", peer: "p" } as const;
  const row = benchRow(about, figures);
  assertEquals([row.ours, row.peer_value, row.ratio], [6, 3, 2]);
});

Deno.test("rlRows() masks in the wanted share of tokens, never of the question, in rows of mixed lengths", () => {
  const rows = rlRows(32, 256, 0.4);
  const total = rows.reduce((sum, { tokens }) => sum + tokens.length, 0);
  const masked = rows.reduce((sum, { mask }) => sum + mask.reduce((a, b) => a + b, 0), 0);
  assertAlmostEquals(masked / total, 0.4, 0.01);
  assertEquals(Math.max(...rows.map(({ tokens }) => tokens.length)), 256);
  assert(new Set(rows.map(({ tokens }) => tokens.length)).size > 16);
  for (const { tokens, mask, prompt } of rows) {
    assertEquals(mask.length, tokens.length);
    assertEquals(mask.slice(0, prompt).indexOf(1), -1);
    assert(tokens.every((token) => token >= 0 && token < 1024));
  }
});

Deno.test("every work has jobs, and every growth has a plot", async () => {
  const jobs: Job[] = [...works.flatMap((work) => jobsOf(work, "f")), ...growthWorks.flatMap(growthJobs)];
  assertEquals([...new Set(jobs.map(({ work }) => work))], [...works, ...growthWorks]);
  assert(
    jobs.every(({ repetitions, work }) => repetitions >= 5 || work === "demo" || work === "growth/memory"),
  );
  const folder = await Deno.makeTempDir();
  const rows = jobs.map((job, i) =>
    benchRow({ ...job, engine: "wasm", threads: 1 }, { ours_all: [i + 1], peer_all: [i + 2], busy_cores: 0 })
  );
  const plots = await writeGrowthPlots(rows, `${folder}/bench.json`);
  assertEquals(
    plots.map((path) => path.slice(folder.length + 1)),
    ["batch", "length", "model", "corpus"].map((name) => `bench_growth_${name}.svg`),
  );
  for (const path of plots) assert((await Deno.readTextFile(path)).startsWith("<svg"));
  await Deno.remove(folder, { recursive: true });
});
