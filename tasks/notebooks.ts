/** `deno task notebooks`: type-checks and executes all notebooks, and with --write stores their outputs. */
import { writeWhole } from "../lib/base/files.ts";
import { InputError } from "../lib/base/input_error.ts";
import { duration } from "../lib/run/progress.ts";
import { runTask } from "./command_line.ts";
import { notebookCode, readNotebook, withOutputs } from "./notebook_files.ts";
import { pythonEnvironment } from "./python_environment.ts";

const flags = {
  preset: {
    kind: "text",
    value: "NAME",
    about: "smoke (the default): toy sizes; full: as they are to be read",
  },
  write: { kind: "switch", about: "Store the outputs in the notebooks; with --preset full" },
  only: {
    kind: "text",
    value: "NAMES",
    about: "Notebooks by comma, by the beginnings of their names: 01,05",
  },
  folder: { kind: "text", value: "FOLDER", about: "Where the notebooks are; notebooks" },
} as const;

await runTask("notebooks", "Type-checks and executes the notebooks.", flags, async (given) => {
  const preset = given.preset ?? "smoke";
  if (preset !== "smoke" && preset !== "full") {
    throw new InputError(`Cannot use --preset ${preset}: it is smoke or full`);
  }
  if (given.write && preset !== "full") {
    throw new InputError(
      "Cannot use --write with --preset smoke: stored outputs are there to be read; add --preset full",
    );
  }
  const folder = given.folder?.replace(/\/+$/, "") ?? "notebooks";
  const paths = await notebookPaths(folder, given.only?.split(","));
  const failed = await typeCheck(folder, paths) ? [] : ["type check"];
  const environment = await pythonEnvironment("notebooks", "notebooks/requirements.txt");
  await installKernel(environment);
  const scratch = await Deno.makeTempDir();
  try {
    for (const path of paths) {
      const started = performance.now();
      const executed = `${scratch}/executed.ipynb`;
      const error = await execute(environment, path, executed, preset);
      console.log(
        `${path}: ${error === undefined ? "ok" : "FAILED"} (${
          duration((performance.now() - started) / 1000)
        })`,
      );
      if (error !== undefined) {
        console.error(error);
        failed.push(path);
      } else if (given.write) {
        const home = Deno.env.get("HOME");
        const privatePaths = [Deno.cwd(), ...home && home.length > 1 ? [`${home}/`] : []];
        const stored = withOutputs(
          await readNotebook(path),
          await readNotebook(executed),
          path,
          privatePaths,
        );
        await writeWhole(path, JSON.stringify(stored, null, 1) + "\n");
      }
    }
  } finally {
    await Deno.remove(scratch, { recursive: true });
  }
  console.log(
    `${paths.length} notebooks; ${failed.length === 0 ? "all passed" : `failed: ${failed.join(", ")}`}`,
  );
  return failed.length === 0 ? 0 : 1;
});

async function notebookPaths(folder: string, beginnings: string[] = [""]): Promise<string[]> {
  const names: string[] = [];
  try {
    for await (const { name } of Deno.readDir(folder)) if (name.endsWith(".ipynb")) names.push(name);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    throw new InputError(`Cannot read notebooks: there is no folder ${folder}; name one with --folder`);
  }
  const chosen = names.sort().filter((name) => beginnings.some((beginning) => name.startsWith(beginning)));
  const idle = beginnings.find((beginning) => !names.some((name) => name.startsWith(beginning)));
  if (idle !== undefined) {
    throw new InputError(
      `Cannot find a notebook ${idle}… in ${folder}: there are ${names.join(", ") || "none"}`,
    );
  }
  return chosen.map((name) => `${folder}/${name}`);
}

/** Checks the types of all cells, a module for each notebook, beside it so that its imports resolve in the same way. */
async function typeCheck(folder: string, paths: readonly string[]): Promise<boolean> {
  const modules = paths.map((path) =>
    `${folder}/.${path.slice(folder.length + 1, -".ipynb".length)}.check.ts`
  );
  try {
    for (const [i, path] of paths.entries()) {
      await Deno.writeTextFile(modules[i]!, notebookCode(await readNotebook(path)));
    }
    const { success, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["check", "--quiet", ...modules],
      stdout: "inherit",
      stderr: "piped",
    }).output();
    console.log(`Type check of ${paths.length} notebooks: ${success ? "ok" : "FAILED"}`);
    if (!success) console.error(new TextDecoder().decode(stderr).trimEnd());
    return success;
  } finally {
    await Promise.all(modules.map((path) => Deno.remove(path).catch(() => {})));
  }
}

/** Makes the Deno that runs this the environment's Jupyter kernel `deno`. */
async function installKernel(environment: string): Promise<void> {
  const folder = `${environment}/share/jupyter/kernels/deno`;
  await Deno.mkdir(folder, { recursive: true });
  const argv = [Deno.execPath(), "jupyter", "--kernel", "--conn", "{connection_file}"];
  const spec = { argv, display_name: "Deno", language: "typescript" };
  await writeWhole(`${folder}/kernel.json`, JSON.stringify(spec, null, 1) + "\n");
}

/** Executes a notebook; undefined when it went well, otherwise what went wrong. */
async function execute(
  environment: string,
  source: string,
  target: string,
  preset: string,
): Promise<string | undefined> {
  const { success, stderr } = await new Deno.Command(`${environment}/bin/python`, {
    args: ["tasks/execute_notebook.py", source, target],
    env: { NO_COLOR: "1", SEARCH_E1_PRESET: preset },
    stdin: "null",
    stdout: "null",
    stderr: "piped",
  }).output();
  return success ? undefined : new TextDecoder().decode(stderr).trim();
}
