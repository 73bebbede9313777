/** A Python environment of the kit's own, made on first use: notebooks and peers to compare with run in it. */
import { exists, writeWhole } from "../lib/base/files.ts";
import { InputError } from "../lib/base/input_error.ts";
import { cacheFolder } from "../lib/engine/locate.ts";

/**
 * The folder of an environment in the kit's cache with the packages of a requirements file; made anew when that file has
 * changed.
 *
 * @throws {InputError} when there is no Python, or pip fails.
 */
export async function pythonEnvironment(name: string, requirements: string): Promise<string> {
  const folder = `${cacheFolder()}/${name}`;
  const wanted = await Deno.readTextFile(requirements);
  const mark = `${folder}/requirements.txt`;
  if (await exists(mark) && await Deno.readTextFile(mark) === wanted) return folder;
  console.log(`Installing the packages of ${requirements} by pip, once`);
  await Deno.mkdir(cacheFolder(), { recursive: true });
  // Debian's Python has no ensurepip unless python3-venv is there; virtualenv brings its own pip.
  if (!await succeeds("python3", "-m", "venv", "--clear", folder)) {
    await run("python3", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "virtualenv");
    await run("python3", "-m", "virtualenv", "--quiet", "--clear", folder);
  }
  const pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", requirements];
  await run(`${folder}/bin/python`, ...pip);
  await writeWhole(mark, wanted);
  return folder;
}

async function succeeds(program: string, ...args: string[]): Promise<boolean> {
  try {
    return (await new Deno.Command(program, { args, stdout: "null", stderr: "null" }).output()).success;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

async function run(program: string, ...args: string[]): Promise<void> {
  let output: Deno.CommandOutput;
  try {
    output = await new Deno.Command(program, { args, stdin: "null", stdout: "null", stderr: "piped" })
      .output();
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    throw new InputError(`Cannot run ${program}: it is not installed; install Python 3 with pip`);
  }
  if (output.success) return;
  const said = new TextDecoder().decode(output.stderr).trim().split("\n");
  const reason = said.findLast((line) => line.startsWith("ERROR: ")) ?? said.at(-1) ?? "it said nothing";
  throw new InputError(
    `Cannot install Python packages by ${program} ${args.join(" ")}: ${reason}; check pip and the network`,
  );
}
