/** `deno task bench`: how fast the kit is, beside torch, transformers and TRL where they are asked for. */
import { writeWhole } from "../lib/base/files.ts";
import { InputError, nearestName } from "../lib/base/input_error.ts";
import { ensureLibtensorflow } from "../lib/engine/install.ts";
import { type EngineName, engineNames } from "../lib/engine/open_engine.ts";
import { textTable } from "../lib/report/tables.ts";
import { growthJobs, growthWorks, writeGrowthPlots } from "./bench/growth.ts";
import { type Job, jobsOf, wasmWorks, works } from "./bench/jobs.ts";
import type { BenchRow } from "./bench/measure.ts";
import { measureDemo, measureMemory, type Setting, Sides } from "./bench/sides.ts";
import { busyCores } from "./bench/quiet.ts";
import { runTask } from "./command_line.ts";

const flags = {
  peers: {
    kind: "switch",
    about: "Measure torch, transformers, TRL and wink beside, in an environment made once",
  },
  threads: { kind: "text", value: "1,2", about: "Thread counts of the tensorflow engine by comma; 1,2" },
  engine: {
    kind: "text",
    value: "NAMES",
    about: `Engines by comma; tensorflow, and wasm for ${wasmWorks.join(", ")}`,
  },
  only: { kind: "text", value: "NAMES", about: `Works by comma: ${[...works, ...growthWorks].join(", ")}` },
  growth: { kind: "switch", about: "Also larger and smaller sizes, with plots beside the file" },
  out: { kind: "text", value: "FILE", about: "Where the rows are written; bench.json" },
} as const;

/** A setting and the jobs to be done in it. */
interface Part {
  setting: Setting;
  jobs: Job[];
}

await runTask(
  "bench",
  "Measures how fast the kit is; a ratio above 1 means that ours is faster.",
  flags,
  async (given) => {
    const out = given.out ?? "bench.json";
    const threads = (given.threads ?? "1,2").split(",").map(Number);
    if (threads.some((count) => !Number.isInteger(count) || count < 1 || count > 1024)) {
      throw new InputError(
        `Cannot use --threads ${given.threads}: write whole numbers from 1 on by comma, such as 1,2`,
      );
    }
    const engines = chosen("engine", given.engine, engineNames);
    const chosenWorks = chosen("only", given.only, [...works, ...growthWorks]) ??
      [...works, ...given.growth ? growthWorks : ["growth/threads"]];
    const folder = await Deno.makeTempDir();
    try {
      const parts = await plan(chosenWorks, engines, threads, given.peers, folder);
      if (parts.length === 0) {
        throw new InputError(
          `Cannot measure ${chosenWorks.join(", ")}: ` +
            "growth/threads needs tensorflow and --threads 2, growth/memory needs --peers",
        );
      }
      const rows: BenchRow[] = [];
      for (const { setting, jobs } of parts) rows.push(...await measureAll(setting, jobs, folder));
      rows.sort((a, b) => order(a) - order(b));
      console.log(tableOf(rows));
      const noisy = rows.filter(({ busy_cores }) => busy_cores >= busyCores).map(({ work }) => work);
      if (noisy.length > 0) {
        console.log(
          `\nOther programs were running beside ${[...new Set(noisy)].join(", ")}: measure these again`,
        );
      }
      const about =
        "ratio above 1: ours is faster (GiB: smaller); ours, peer_value: medians of ours_all, peer_all";
      const made = { about, date: new Date().toISOString(), machine: await machine(), rows };
      await writeWhole(out, JSON.stringify(made, null, 1) + "\n");
      const plots = await writeGrowthPlots(rows, out);
      console.log(`\nWritten: ${[out, ...plots].join(", ")}`);
      return 0;
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
);

/** Names by comma, each of which must be known; undefined when none were given. */
function chosen<T extends string>(
  flag: string,
  text: string | undefined,
  known: readonly T[],
): T[] | undefined {
  return text?.split(",").map((name) => {
    if ((known as readonly string[]).includes(name)) return name as T;
    const near = nearestName(name, known);
    throw new InputError(
      `Cannot use --${flag} ${name}: ${near ? `did you mean ${near}?` : `known are ${known.join(", ")}`}`,
    );
  });
}

/** Jobs by the processes that do them. */
async function plan(
  chosenWorks: readonly string[],
  asked: readonly EngineName[] | undefined,
  threads: readonly number[],
  peers: boolean,
  folder: string,
): Promise<Part[]> {
  let engines = asked ?? ["tensorflow", "wasm"];
  if (engines.includes("tensorflow") && chosenWorks.some((work) => !isSearch(work))) {
    const library = await ensureLibtensorflow();
    if (!library.found && asked) throw new InputError(`Cannot measure on tensorflow: ${library.note}`);
    if (!library.found) {
      console.log(library.note);
      engines = ["wasm"];
    }
  }
  const parts: Part[] = [];
  const add = (setting: Setting, jobs: Job[]) => jobs.length > 0 && parts.push({ setting, jobs });
  for (const engine of engines) {
    const on = (work: string) => asked !== undefined || engine !== "wasm" || wasmWorks.includes(work);
    const counts = engine === "tensorflow" ? threads : [1];
    const here = chosenWorks.filter((work) => on(work) && !isSearch(work) && work !== "demo");
    for (const count of counts) {
      add(
        { engine, threads: count, peers },
        here.filter((work) => !isGrowth(work)).flatMap((w) => jobsOf(w, folder)),
      );
    }
    const most = Math.max(...counts);
    // Growth is drawn for one thread count; memory is compared with a peer or not at all, several threads with one.
    const compares = (work: string) =>
      work === "growth/memory" ? peers : work !== "growth/threads" || most > 1;
    const growth = here.filter((work) => isGrowth(work) && compares(work));
    if (engine === engines[0]) add({ engine, threads: most, peers }, growth.flatMap(growthJobs));
    if (chosenWorks.includes("demo") && on("demo")) {
      const all = engine === "tensorflow" ? navigator.hardwareConcurrency : 1;
      add({ engine, threads: all, peers }, jobsOf("demo", folder));
    }
  }
  const search = chosenWorks.filter(isSearch).flatMap((work) =>
    isGrowth(work) ? growthJobs(work) : jobsOf(work, folder)
  );
  add({ engine: "javascript", threads: 1, peers }, search);
  return parts;
}

function isGrowth(work: string): boolean {
  return work.startsWith("growth/");
}

function isSearch(work: string): boolean {
  return work === "search" || work === "growth/corpus";
}

async function measureAll(setting: Setting, jobs: readonly Job[], folder: string): Promise<BenchRow[]> {
  const rows: BenchRow[] = [];
  const sides = new Sides(setting);
  try {
    for (const job of jobs) {
      const started = performance.now();
      const row = job.work === "demo"
        ? await measureDemo(job, setting, folder)
        : job.work === "growth/memory"
        ? await measureMemory(job, setting)
        : await sides.measure(job);
      rows.push(row);
      console.error(
        `${cells(row).join("  ")}  (took ${((performance.now() - started) / 1000).toFixed(0)} s)`,
      );
    }
  } finally {
    await sides.close();
  }
  return rows;
}

function order({ work }: BenchRow): number {
  return ([...works, ...growthWorks] as string[]).indexOf(work);
}

function tableOf(rows: readonly BenchRow[]): string {
  const head = [
    "work",
    "shape",
    "engine",
    "threads",
    "ours",
    "unit",
    "peer",
    "peer's",
    "ratio (> 1: ours is faster)",
  ];
  return textTable([head, ...rows.map(cells)]);
}

function cells({ work, shape, engine, threads, ours, unit, peer, peer_value, ratio }: BenchRow): string[] {
  const shaped = Object.entries(shape).map(([key, value]) => `${key} ${value}`).join(" ");
  const digits = (value: number | null) =>
    value === null ? "–" : Math.abs(value) >= 1000 ? value.toFixed(0) : value.toPrecision(3);
  const ratioText = ratio === null ? "–" : ratio.toFixed(2);
  return [work, shaped, engine, `${threads}`, digits(ours), unit, peer ?? "–", digits(peer_value), ratioText];
}

/** The processor's name where the system tells it, and the number of its cores. */
async function machine(): Promise<string> {
  const cores = `${navigator.hardwareConcurrency} cores`;
  try {
    const { stdout } = await new Deno.Command("lscpu", { stdout: "piped", stderr: "null" }).output();
    const name = new TextDecoder().decode(stdout).match(/Model name:\s*(.+)/)?.[1];
    return [name ?? Deno.build.arch, cores].join(", ");
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    return `${Deno.build.arch}, ${cores}`;
  }
}
