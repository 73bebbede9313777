import { assert, assertEquals, assertRejects } from "@std/assert";
import { exists, writeWhole } from "../base/files.ts";
import { InputError } from "../base/input_error.ts";
import { parseConfig } from "./config.ts";
import {
  describeRun,
  differentKey,
  freeRunFolder,
  lockRunFolder,
  readEnvironment,
  readEvaluation,
  runPaths,
  runState,
} from "./run_folder.ts";

const engine = { name: "cpu", device: "CPU", threads: 1, version: "4.22.0", report: "cpu, 1 thread" };
const config = parseConfig("", "run.toml");

async function inTemporaryFolder(work: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await work(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("freeRunFolder() resumes an unfinished run, keeps a finished one, passes over other settings", () =>
  inTemporaryFolder(async (root) => {
    const wanted = `${root}/demo`;
    assertEquals(await freeRunFolder(wanted, config), { folder: wanted, state: "new" });
    const environment = await readEnvironment(engine);
    (await lockRunFolder(wanted)).release();
    assertEquals(await runState(wanted), "new");
    await describeRun(wanted, config, environment);
    assertEquals(await freeRunFolder(wanted, config), { folder: wanted, state: "unfinished" });
    const other = parseConfig("seed = 2", "run.toml");
    assertEquals(await differentKey(wanted, other), "seed");
    assertEquals(await freeRunFolder(wanted, other), { folder: `${wanted}-2`, state: "new" });
    await writeWhole(runPaths(wanted).evaluation, "{}");
    assertEquals(await freeRunFolder(wanted, config), { folder: `${wanted}-2`, state: "new" });
  }));

Deno.test("differentKey() lets title and checkpointing differ", () =>
  inTemporaryFolder(async (folder) => {
    await describeRun(folder, config, await readEnvironment(engine));
    const other = parseConfig("", "run.toml", ["title=x", "checkpoint.keep=9", "world.heldout={}"]);
    assertEquals(await differentKey(folder, other), undefined);
    assertEquals(await differentKey(folder, parseConfig("", "r", ["grpo.steps=[10,7]"])), "grpo.steps");
  }));

Deno.test("lockRunFolder() refuses a second taker until the first lets go", () =>
  inTemporaryFolder(async (folder) => {
    const lock = await lockRunFolder(folder);
    await assertRejects(() => lockRunFolder(folder), InputError, "another process is at it");
    lock.release();
    (await lockRunFolder(folder)).release();
  }));

Deno.test("runState() refuses a folder of other files", () =>
  inTemporaryFolder(async (folder) => {
    await writeWhole(`${folder}/thesis.docx`, "");
    await assertRejects(() => runState(folder), InputError, "it holds thesis.docx and no run");
  }));

Deno.test("readEvaluation() names the missing file", () =>
  inTemporaryFolder(async (folder) => {
    await assertRejects(() => readEvaluation(folder), InputError, "evaluation.json: there is no such file");
  }));

Deno.test("describeRun() leaves whole files and no temporary ones", () =>
  inTemporaryFolder(async (folder) => {
    await describeRun(folder, config, await readEnvironment(engine));
    const names = [...Deno.readDirSync(folder)].map(({ name }) => name).sort();
    assertEquals(names, ["config.toml", "environment.json"]);
    const environment = JSON.parse(await Deno.readTextFile(runPaths(folder).environment));
    assertEquals(environment.deno, Deno.version.deno);
    assert(
      environment.revision === null || /^[0-9a-f]{40}$/.test(environment.revision),
      environment.revision,
    );
    assert(await exists(runPaths(folder).config));
  }));
