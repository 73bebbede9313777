/**
 * Python's package installer, as the way to fetch a package by its name: the user's own settings of index, mirror, proxy
 * and cache apply.
 *
 * @module
 */
import { InputError } from "../base/input_error.ts";

/** The commands under which pip is looked for. */
const pipCommands = [["pip3"], ["pip"], ["python3", "-m", "pip"], ["python", "-m", "pip"]] as const;

/** A command that runs pip: a program and its first arguments. */
export type PipCommand = readonly string[];

/** The first of the commands that runs here, or undefined without pip. */
export async function findPip(
  commands: readonly PipCommand[] = pipCommands,
): Promise<PipCommand | undefined> {
  for (const command of commands) {
    const [program, ...rest] = command as [string, ...string[]];
    try {
      const process = new Deno.Command(program, {
        args: [...rest, "--version"],
        stdout: "null",
        stderr: "null",
      });
      if ((await process.output()).success) return command;
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound || error instanceof Deno.errors.PermissionDenied)) {
        throw error;
      }
    }
  }
  return undefined;
}

/** What pip has fetched so far, and what it says there is to fetch, in bytes. */
export type PipProgress = (fetched: number, total: number | undefined) => void;

/**
 * Runs pip with its scratch files in `scratch`, and reports how they grow: no release of pip that may be met has another
 * sign of progress that a program can read.
 *
 * @throws {InputError} with pip's last error when it fails.
 */
export async function runPip(
  pip: PipCommand,
  arguments_: readonly string[],
  scratch: string,
  progress: PipProgress,
): Promise<void> {
  const [program, ...rest] = pip as [string, ...string[]];
  await Deno.mkdir(scratch, { recursive: true });
  const process = new Deno.Command(program, {
    args: [...rest, ...arguments_, "--progress-bar", "off", "--no-input", "--disable-pip-version-check"],
    env: { TMPDIR: scratch },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  let total: number | undefined;
  let errors = "";
  const readOut = eachLine(process.stdout, (line) => {
    const size = /Downloading .*\(([\d.]+) (k|M|G)B\)/.exec(line);
    if (size) total = (total ?? 0) + Number(size[1]) * { k: 1e3, M: 1e6, G: 1e9 }[size[2] as "k" | "M" | "G"];
  });
  const readErrors = eachLine(process.stderr, (line) => {
    if (/^ERROR: /.test(line)) errors = line.slice(7);
  });
  const timer = setInterval(async () => progress(await folderSize(scratch), total), 500);
  const [{ success, code }] = await Promise.all([process.status, readOut, readErrors]);
  clearInterval(timer);
  if (!success) {
    throw new InputError(
      `Cannot fetch by ${pip.join(" ")}: ${
        errors || `it ended with code ${code}`
      }; check the network and try again`,
    );
  }
}

async function eachLine(stream: ReadableStream<Uint8Array>, use: (line: string) => void): Promise<void> {
  let rest = "";
  const decoder = new TextDecoder();
  for await (const bytes of stream) {
    const lines = (rest + decoder.decode(bytes, { stream: true })).split("\n");
    rest = lines.pop()!;
    lines.forEach(use);
  }
  if (rest !== "") use(rest);
}

/** Bytes in all files below a folder; files may come and go meanwhile. */
async function folderSize(folder: string): Promise<number> {
  let sum = 0;
  try {
    for await (const entry of Deno.readDir(folder)) {
      const path = `${folder}/${entry.name}`;
      if (entry.isDirectory) sum += await folderSize(path);
      else if (entry.isFile) sum += (await Deno.stat(path)).size;
    }
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  return sum;
}
