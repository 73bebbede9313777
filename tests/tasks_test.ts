/** The tasks as people call them: help, bad input, a run, its tools, an interruption, kills and resumes. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { exists } from "../lib/base/files.ts";
import { randomStream } from "../lib/base/random.ts";
import { checkpointNames } from "../lib/run/checkpoint.ts";
import { readMetrics } from "../lib/run/metrics.ts";
import { lockRunFolder, readEvaluation, runPaths } from "../lib/run/run_folder.ts";
import { makeRun } from "./made_run.ts";
import { assertSameRun } from "./same_run.ts";
import { runTask, startDeno, startTask } from "./task_process.ts";

const preset = "data/presets/tiny.toml";

/** One uninterrupted run that the tests share. */
let referenceRun: Promise<string> | undefined;

function reference(): Promise<string> {
  return referenceRun ??= (async () => {
    const folder = `${await Deno.makeTempDir()}/reference`;
    const { code, stderr } = await runTask("train", "--config", preset, "--out", folder);
    assertEquals(code, 0, stderr);
    return folder;
  })();
}

Deno.test.afterAll(async () => {
  if (referenceRun) await Deno.remove(await referenceRun, { recursive: true });
});

for (
  const task of [
    ...["demo", "train", "eval", "rollout", "report", "watch", "setup", "doctor", "test", "docs"],
    ...["build:wasm", "build:native"],
  ]
) {
  Deno.test(`deno task ${task} --help exits with 0`, async () => {
    const { code, stdout } = await runTask(task, "--help");
    assertEquals(code, 0);
    assertStringIncludes(stdout, `deno task ${task}`);
  });
}

const badCommands: [args: string[], message: string][] = [
  [
    ["demo", "--engin", "x"],
    "error: Cannot use --engin: unknown flag of deno task demo; did you mean --engine?",
  ],
  [["demo", "--seeds", "1,x"], "error: Cannot use --seeds 1,x: write integers by comma, such as 1,2,3"],
  [["demo", "--control", "grponly"], "error: Cannot use --control grponly: did you mean grpo-only?"],
  [["train"], "error: Cannot train: give --config FILE, or --resume with --out FOLDER"],
  [
    ["train", "--out", "runs/no"],
    "error: Cannot start in runs/no: no settings given; name a file, --config data/presets/smoke.toml",
  ],
  [["train", "--config", preset, "--out", "lib"], "error: Cannot use lib: it holds "],
  [["eval", "--run", "runs/no"], "error: Cannot load a policy from runs/no: "],
  [["rollout", "--number", "0"], "error: Cannot use --number 0: give an integer of at least 1"],
  [
    ["report", "runs/no"],
    "error: Cannot report on runs/no: it holds no run; name a run folder, such as runs/demo",
  ],
  [
    ["report", "runs/no", "runs/other"],
    "error: Cannot use runs/other: deno task report takes one run folder; see --help",
  ],
  [
    ["report", "--out", "runs/no"],
    "error: Cannot use --out: unknown flag of deno task report; known are --compare, and FOLDER without a flag",
  ],
  [
    ["build:native", "--avx2"],
    "error: Cannot use --avx2: unknown flag of deno task build:native; it takes none",
  ],
  [["watch", "a", "b"], "error: Cannot use b: deno task watch takes one run folder; see --help"],
  [["watch", "--port", "x"], "error: Cannot use --port x: give an integer from 0 to 65535"],
  [["eval", "runs/no"], "error: Cannot use runs/no: deno task eval takes flags only; see --help"],
];

for (const [args, message] of badCommands) {
  Deno.test(`deno task ${args.join(" ")} exits with 2 and one line`, async () => {
    const { code, stderr } = await runTask(...args as [string, ...string[]]);
    const lines = stderr.split("\n").filter((line) => line !== "" && !line.startsWith("Task "));
    assertEquals(lines.length, 1, stderr);
    assert(lines[0]!.startsWith(message), lines[0]);
    assertEquals(code, 2);
  });
}

Deno.test("deno task train writes a whole run folder", async () => {
  const folder = await reference();
  const paths = runPaths(folder);
  for (
    const path of [
      paths.config,
      paths.environment,
      paths.best,
      paths.evaluation,
      paths.report,
      paths.readme,
      paths.events,
    ]
  ) {
    assert(await exists(path), `${path} is missing`);
  }
  const { rows, seconds, recall } = await readEvaluation(folder);
  assertEquals([...new Set(rows.map(({ stage }) => stage))], ["sft", "grpo-1", "ofsd-1", "grpo-2"]);
  assertEquals(Object.keys(recall), ["alternate", "real"]);
  assert(seconds.total! > 0);
  const metrics = await readMetrics(paths.metrics);
  assertEquals(metrics.map(({ step }) => step), metrics.map((_, i) => i + 1));
  assert(metrics.some((row) => Number.isFinite(row["ofsd/kl"])), "OFSD had no pairs");
  assertStringIncludes(await Deno.readTextFile(paths.report), "<title>Tiny run</title>");
});

Deno.test("deno task train refuses a folder with a run, and says when there is nothing left to resume", async () => {
  const folder = await reference();
  const again = await runTask("train", "--config", preset, "--out", folder);
  assertEquals(again.code, 2);
  assertStringIncludes(again.stderr, "a run is there; go on with --resume or choose another --out");
  const resumed = await runTask("train", "--resume", "--out", folder);
  assertEquals(resumed.code, 0);
  assertStringIncludes(resumed.stdout, "is finished; nothing is left to do");
  const other = await runTask("train", "--resume", "--config", preset, "--seed", "2", "--out", folder);
  assertEquals(other.code, 2);
  assertStringIncludes(other.stderr, "seed differs from its config.toml");
});

Deno.test("deno task eval measures what the run measured for its best checkpoint", async () => {
  const folder = await reference();
  const best = JSON.parse(await Deno.readTextFile(runPaths(folder).best));
  const json = `${folder}/eval.json`;
  const { code, stderr } = await runTask("eval", "--run", folder, "--json", json);
  assertEquals(code, 0, stderr);
  const { rows } = JSON.parse(await Deno.readTextFile(json));
  const expected = (await readEvaluation(folder)).rows.filter(({ stage }) => stage === best.stage);
  const withoutStage = ({ stage: _, ...row }: { stage: string }) => row;
  assertEquals(rows.map(withoutStage), expected.map(withoutStage));
  await Deno.remove(json);
});

Deno.test("deno task rollout shows who wrote what", async () => {
  const folder = await reference();
  const { code, stdout, stderr } = await runTask("rollout", "--run", folder, "--number", "2", "--of", "real");
  assertEquals(code, 0, stderr);
  assertEquals(stdout.match(/^\? /gm)?.length, 2);
  assert(/^= gold: /m.test(stdout));
  const own = await runTask("rollout", "--run", folder, "--question", "In which country does Xanadu lie?");
  assertEquals(own.code, 0, own.stderr);
  assertStringIncludes(own.stdout, "? In which country does <unk> lie?");
  assertStringIncludes(own.stdout, "Note: the policy's vocabulary lacks some words of the question");
});

Deno.test("deno task report compares with all further folders once --compare is given", async () => {
  const folder = `${await Deno.makeTempDir()}/made`;
  for (const name of ["a", "b", "c"]) await makeRun(`${folder}/${name}`);
  const given = [`${folder}/a`, "--compare", `${folder}/b`, `${folder}/c`];
  const { code, stdout, stderr } = await runTask("report", ...given);
  assertEquals(code, 0, stderr);
  assertEquals(stdout.trim(), `${folder}/a/report.html`);
  const page = await Deno.readTextFile(`${folder}/a/report.html`);
  for (const name of ["a", "b", "c"]) assertStringIncludes(page, `<h2>Held-out questions: ${name}</h2>`);
  await Deno.remove(folder, { recursive: true });
});

Deno.test("deno task watch says where, serves, and ends on Ctrl-C", async () => {
  const folder = `${await Deno.makeTempDir()}/made`;
  await makeRun(folder);
  const { child, ended, seen, output } = startTask("watch", folder, "--port", "0");
  assert(await seen("Ctrl-C ends it"), "the server ended unasked");
  const [, url] = output().stdout.match(/is shown at (http:\/\/127\.0\.0\.1:\d+\/);/)!;
  const events = await fetch(`${url}events`);
  const reader = events.body!.pipeThrough(new TextDecoderStream()).getReader();
  assertStringIncludes((await reader.read()).value!, "event: data");
  child.kill("SIGINT");
  const { code, stderr } = await ended;
  assertEquals(code, 0, stderr);
  await reader.cancel();
  await Deno.remove(folder, { recursive: true });
});

Deno.test("the live page's server ends with 0 however often Ctrl-C arrives, as `deno task` hands it on twice", async () => {
  const { tasks } = JSON.parse(await Deno.readTextFile("deno.json"));
  const { child, ended, seen } = startDeno(...tasks.watch.split(" ").slice(1), "runs/none", "--port", "0");
  assert(await seen("Ctrl-C ends it"), "the server ended unasked");
  for (let alive = true; alive; await new Promise((resolve) => setTimeout(resolve, 2))) {
    try {
      child.kill("SIGINT");
    } catch (error) {
      assertStringIncludes(String(error), "already terminated");
      alive = false;
    }
  }
  const { code, stderr } = await ended;
  assertEquals(code, 0, stderr);
});

Deno.test("a run done twice has the same bits", async () => {
  const folder = `${await Deno.makeTempDir()}/again`;
  const { code, stderr } = await runTask("train", "--config", preset, "--out", folder);
  assertEquals(code, 0, stderr);
  await assertSameRun(folder, await reference());
  await Deno.remove(folder, { recursive: true });
});

Deno.test("Ctrl-C writes a checkpoint, says how to go on, leaves nothing running; resuming ends in the same bits", async () => {
  const folder = `${await Deno.makeTempDir()}/interrupted`;
  const { child, ended, seen } = startTask("train", "--config", preset, "--out", folder);
  assert(await seen("sft · real"), "the first stage ended unseen");
  child.kill("SIGINT");
  const { code, stdout, stderr } = await ended;
  assertEquals(code, 130, stderr);
  assertStringIncludes(stdout, "Stopped; go on with: ");
  assertStringIncludes(stdout, ` task train --resume --out ${folder}`);
  assert((await checkpointNames(folder)).length > 0);
  (await lockRunFolder(folder)).release();
  const resumed = await runTask("train", "--resume", "--out", folder);
  assertEquals(resumed.code, 0, resumed.stderr);
  await assertSameRun(folder, await reference());
  await Deno.remove(folder, { recursive: true });
});

Deno.test("a run killed at ten random moments ends in the same bits", async () => {
  await reference();
  const folder = `${await Deno.makeTempDir()}/killed`;
  const random = randomStream("kill moments");
  const args = ["--config", preset, "--out", folder];
  for (let kills = 0; kills < 10; kills++) {
    const started = await exists(runPaths(folder).config);
    const child = new Deno.Command(Deno.execPath(), {
      args: [
        ...[
          "run",
          "--no-check",
          "--allow-read",
          "--allow-write",
          "--allow-env",
          "--allow-ffi",
          "--allow-sys",
        ],
        ...["--allow-run", "tasks/train.ts", ...args, ...(started ? ["--resume"] : [])],
      ],
      stdin: "null",
      stdout: "null",
      stderr: "null",
    }).spawn();
    await new Promise((resolve) => setTimeout(resolve, 800 + 3000 * random()));
    try {
      child.kill("SIGKILL");
    } catch (error) {
      // It had ended already.
      if (!(error instanceof TypeError)) throw error;
    }
    await child.status;
  }
  if (await exists(runPaths(folder).config)) args.push("--resume");
  const { code, stderr } = await runTask("train", ...args);
  assertEquals(code, 0, stderr);
  await assertSameRun(folder, await reference());
  await Deno.remove(folder, { recursive: true });
});
