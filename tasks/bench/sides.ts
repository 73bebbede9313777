/** Starts the processes of the bench and measures jobs in them. @module */
import { exists } from "../../lib/base/files.ts";
import type { EngineName } from "../../lib/engine/open_engine.ts";
import { pythonEnvironment } from "../python_environment.ts";
import { type Job, onOneThread } from "./jobs.ts";
import { type BenchRow, benchRow, interleaved } from "./measure.ts";
import { waitForQuiet } from "./quiet.ts";
import { Worker } from "./worker.ts";

const here = decodeURIComponent(new URL(".", import.meta.url).pathname);
const requirements = `${here}requirements.txt`;

/** Where and with whom jobs are measured. */
export interface Setting {
  engine: EngineName | "javascript";
  threads: number;
  /** Whether peers are measured too. */
  peers: boolean;
}

/** Processes of one setting, started when first needed; each lives until `close`, so only one side computes at a time. */
export class Sides {
  readonly #setting: Setting;
  #ours: Worker | undefined;
  #peer: Worker | undefined;
  #single: Worker | undefined;

  constructor(setting: Setting) {
    this.#setting = setting;
  }

  /** Measures one job. */
  async measure({ work, task, shape, unit, peer, repetitions, config, data }: Job): Promise<BenchRow> {
    const { engine, threads, peers } = this.#setting;
    this.#ours ??= new Worker(`ours on ${engine}`, oursCommand(engine, threads));
    const side = await this.#sideOf(peer, peers);
    const request = { task, shape, data, warm: 2, warmSeconds: 1, ...(config ? { config } : {}) };
    const figures = await interleaved(unit, request, this.#ours, side, repetitions);
    return benchRow({ work, engine, threads, shape, unit, peer }, figures);
  }

  /** The process of a peer; undefined where none is to be measured. */
  async #sideOf(peer: string | null, peers: boolean): Promise<Worker | undefined> {
    const { engine, threads } = this.#setting;
    if (peer === onOneThread) return this.#single ??= new Worker(peer, oursCommand(engine, 1));
    if (!peer || !peers) return undefined;
    return this.#peer ??= new Worker(
      peer,
      engine === "javascript" ? searchCommand("wink") : await peerCommand(threads),
    );
  }

  /** Ends the processes. */
  async close(): Promise<void> {
    await Promise.all([this.#ours, this.#peer, this.#single].map((worker) => worker?.close()));
  }
}

/** Peak memory of a process that takes three steps, ours and the peer's; Python starts both and asks the system. */
export async function measureMemory({ work, task, shape, unit, peer, config, data }: Job, setting: Setting) {
  const { engine, threads } = setting;
  const python = (await peerCommand(threads))[0]!;
  const peak = async (name: string, command: string[]) => {
    const file = await Deno.makeTempFile();
    const worker = new Worker(name, [python, `${here}peak_memory.py`, file, ...command]);
    try {
      await worker.prepare({ task, shape, data, warm: 3, warmSeconds: 0, ...(config ? { config } : {}) });
    } finally {
      await worker.close();
    }
    const bytes = Number(await Deno.readTextFile(file));
    await Deno.remove(file);
    return bytes / 2 ** 30;
  };
  const ours = await peak(`ours on ${engine}`, oursCommand(engine, threads));
  const theirs = await peak(peer!, await peerCommand(threads));
  return benchRow({ work, engine, threads, shape, unit, peer }, {
    ours_all: [ours],
    peer_all: [theirs],
    busy_cores: 0, // others' work makes no process larger
  });
}

/** Seconds that `deno task demo` takes, start to end, in a folder of its own. */
export async function measureDemo(job: Job, { engine, threads }: Setting, folder: string): Promise<BenchRow> {
  const out = `${folder}/demo-${engine}`;
  const busy_cores = await waitForQuiet(60);
  const started = performance.now();
  const { success, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["task", "demo", "--engine", engine, "--set", `engine.threads=${threads}`, "--out", out],
    stdin: "null",
    stdout: "null",
    stderr: "piped",
  }).output();
  const seconds = (performance.now() - started) / 1000;
  if (!success || !await exists(`${out}/evaluation.json`)) {
    throw new Error(
      `Cannot measure deno task demo: ${new TextDecoder().decode(stderr).trim().split("\n").at(-1)}`,
    );
  }
  return benchRow({ ...job, engine, threads }, { ours_all: [seconds], peer_all: [], busy_cores });
}

function oursCommand(engine: string, threads: number): string[] {
  if (engine === "javascript") return searchCommand("kit");
  const allowed = ["--allow-read", "--allow-write", "--allow-env", "--allow-ffi", "--allow-sys"];
  return [Deno.execPath(), "run", "--no-prompt", ...allowed, `${here}ours.ts`, engine, String(threads)];
}

function searchCommand(by: string): string[] {
  return [Deno.execPath(), "run", "--no-prompt", "--allow-read", "--allow-env", `${here}search.ts`, by];
}

async function peerCommand(threads: number): Promise<string[]> {
  return [`${await pythonEnvironment("bench", requirements)}/bin/python`, `${here}peer.py`, String(threads)];
}
